//! Which functions and static probes of a file are meant.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::choice::{Choice, What};
use super::files::{self, FileError};
use super::names::{Names, Near, matches};
use super::{Chosen, PLACES, Spot};
use crate::event::FunctionSort;
use crate::image::functions::{Code, Functions, StaticProbe};
use crate::image::{GoAbi, NotCovered};

/// Instructions by which one function may be left.
const ENDS: usize = 1024;

/// Why a choice means nothing.
#[derive(Debug, thiserror::Error)]
pub enum MatchError {
    /// There is no such file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It cannot be read.
    #[error("cannot open {0}: {1}")]
    Open(PathBuf, #[source] std::io::Error),
    /// It has no functions that could be named.
    #[error("{0}: {1}")]
    Image(PathBuf, #[source] NotCovered),
    /// It was stripped.
    #[error("{0} has no symbols: it was stripped, and only what a library exports is left in such a file")]
    Stripped(PathBuf),
    /// Nothing in it is called so.
    #[error("no function {wanted} in {file}{hint}")]
    NoFunction {
        /// The name or pattern.
        wanted: String,
        /// The file.
        file: PathBuf,
        /// Names near to it, as a continuation of the sentence.
        hint: String,
    },
    /// No static probe in it is called so.
    #[error("no static probe {wanted} in {file}{hint}")]
    NoProbe {
        /// Provider and name.
        wanted: String,
        /// The file.
        file: PathBuf,
        /// Names near to it, as a continuation of the sentence.
        hint: String,
    },
    /// Too much is called so.
    #[error(
        "{wanted} means {found} places in {file}, and at most {PLACES} can be observed: say more of it (perf-agent functions shows them)"
    )]
    TooMany {
        /// The name or pattern.
        wanted: String,
        /// How many.
        found: usize,
        /// The file.
        file: PathBuf,
    },
}

/// A function that a pattern means.
struct Meant {
    name: String,
    symbols: Vec<String>,
    code: Code,
    entry: u64,
    /// Parts of it that lie elsewhere.
    parts: Vec<Code>,
}

/// What a pattern means.
struct Meaning {
    functions: Vec<Meant>,
    /// Where all functions begin and end, in order.
    ranges: Vec<(u64, u64)>,
}

/// What a choice means, each by its own name unless the choice gives one for all.
///
/// # Errors
/// [`MatchError`]
pub fn find(choice: &Choice) -> Result<Vec<Chosen>, MatchError> {
    find_up_to(choice, PLACES)
}

/// Like [`find`], with another limit of places.
///
/// # Errors
/// [`MatchError`]
pub fn find_up_to(choice: &Choice, most: usize) -> Result<Vec<Chosen>, MatchError> {
    let path = files::find(&choice.file)?;
    let file = File::open(&path).map_err(|error| MatchError::Open(path.clone(), error))?;
    let image = |error| MatchError::Image(path.clone(), error);
    let functions = Functions::of(&file).map_err(image)?;
    let found = match &choice.what {
        What::Symbol(pattern) => {
            let meant = meant(&functions, pattern, &path)?;
            within(meant.functions.len(), most, pattern, &path)?;
            let go_stack = functions.go_abi() == Some(GoAbi::Stack);
            chosen_functions(choice, &functions, meant, &path, go_stack)
        }
        What::Probe(provider, name) => {
            let probes = functions.probes().map_err(image)?;
            let found = named(&probes, provider, name, &path)?;
            within(found.len(), most, name, &path)?;
            probes_by_name(choice, &found, &path)
        }
        What::Pair(provider, begin, end) => {
            let probes = functions.probes().map_err(image)?;
            let begins = named(&probes, provider, begin, &path)?;
            let ends = named(&probes, provider, end, &path)?;
            within(begins.len() + ends.len(), most, &format!("{begin}..{end}"), &path)?;
            let label = |probe: &StaticProbe| format!("{}:{}", probe.provider, probe.name);
            let mut symbols: Vec<_> = begins.iter().chain(&ends).map(|probe| label(probe)).collect();
            symbols.dedup();
            vec![Chosen {
                name: choice
                    .name
                    .clone()
                    .unwrap_or_else(|| format!("{provider}:{begin}..{end}")),
                symbols,
                sort: FunctionSort::ProbePair,
                entries: spots(&begins),
                ends: spots(&ends),
                doubt: doubt(&begins).or(doubt(&ends)),
                ..blank(choice, &path)
            }]
        }
    };
    Ok(found)
}

fn within(found: usize, most: usize, wanted: &str, file: &Path) -> Result<(), MatchError> {
    if found <= most {
        return Ok(());
    }
    Err(MatchError::TooMany {
        wanted: wanted.to_owned(),
        found,
        file: file.to_owned(),
    })
}

fn blank(choice: &Choice, file: &Path) -> Chosen {
    Chosen {
        name: String::new(),
        choice: choice.text.clone(),
        file: file.to_owned(),
        sort: FunctionSort::Function,
        symbols: Vec::new(),
        entries: Vec::new(),
        ends: Vec::new(),
        go_stack: false,
        obstacle: None,
        doubt: None,
    }
}

/// The functions that a pattern means, each once, whatever number of symbols it has.
fn meant(functions: &Functions<'_>, pattern: &str, file: &Path) -> Result<Meaning, MatchError> {
    let mut all: Vec<Meant> = Vec::new();
    let (mut parts, mut ranges) = (Vec::new(), Vec::new());
    let names_of = |symbol: &str, code: Code| {
        if code.is_go {
            Some(Names::of_go(symbol))
        } else {
            Names::of(symbol)
        }
    };
    let image = |error| MatchError::Image(file.to_owned(), error);
    let each = functions.each(&mut |symbol, code| {
        ranges.push((code.address, code.address.saturating_add(code.size)));
        if let Some(whole) = Names::whole_of(symbol) {
            if Names::of(whole).is_some_and(|names| names.matches(whole, pattern)) {
                parts.push((whole.to_owned(), code));
            }
            return;
        }
        let Some(names) = names_of(symbol, code).filter(|names| names.matches(symbol, pattern)) else {
            return;
        };
        let Some(entry) = functions.entry(code) else { return };
        if let Some(known) = all.iter_mut().find(|known| known.entry == entry) {
            if !known.symbols.iter().any(|known| known == symbol) {
                known.symbols.push(symbol.to_owned());
            }
            return;
        }
        all.push(Meant {
            name: names.short,
            symbols: vec![symbol.to_owned()],
            code,
            entry,
            parts: Vec::new(),
        });
    });
    each.map_err(image)?;
    if !all.is_empty() {
        for (whole, code) in parts {
            let of = all.iter_mut().find(|one| one.symbols.contains(&whole));
            if let Some(of) = of.filter(|of| !of.parts.contains(&code)) {
                of.parts.push(code);
            }
        }
        ranges.sort_unstable();
        return Ok(Meaning { functions: all, ranges });
    }
    let (mut near, mut any) = (Near::to(pattern), false);
    let each = functions.each(&mut |symbol, code| {
        any = true;
        if let Some(names) = names_of(symbol, code) {
            near.consider(&names.short);
        }
    });
    each.map_err(image)?;
    if !any {
        return Err(MatchError::Stripped(file.to_owned()));
    }
    Err(MatchError::NoFunction {
        wanted: pattern.to_owned(),
        file: file.to_owned(),
        hint: near.hint(),
    })
}

fn chosen_functions(
    choice: &Choice,
    functions: &Functions<'_>,
    meant: Meaning,
    file: &Path,
    go_stack: bool,
) -> Vec<Chosen> {
    // A jump to where a function begins leaves this one, and one to somewhere inside of another stays in a part of it.
    let ranges = &meant.ranges;
    let is_inside = |address: u64| {
        let before = ranges.partition_point(|(from, _)| *from <= address);
        let begins = ranges[..before].last().is_some_and(|(from, _)| *from == address);
        !begins && ranges[..before].last().is_some_and(|(_, to)| address < *to)
    };
    let mut all: Vec<Chosen> = Vec::new();
    let mut trapped: Vec<usize> = Vec::new();
    for one in meant.functions {
        let name = choice.name.clone().unwrap_or(one.name);
        let sort = if one.code.is_go {
            FunctionSort::GoFunction
        } else {
            FunctionSort::Function
        };
        let place = all.iter().position(|known| known.name == name && known.sort == sort);
        let place = place.unwrap_or_else(|| {
            all.push(Chosen {
                name,
                sort,
                go_stack: go_stack && one.code.is_go,
                ..blank(choice, file)
            });
            all.len() - 1
        });
        let chosen = &mut all[place];
        // Jumps to its own parts are none that leave it.
        let own = |address: u64| is_inside(address) || one.parts.iter().any(|part| part.address == address);
        let whole = std::iter::once(one.code).chain(one.parts.iter().copied());
        let ends: Option<Vec<u64>> = whole
            .map(|code| functions.ends(code, &own))
            .collect::<Option<Vec<_>>>()
            .map(|ends| ends.concat());
        let may_be_trapped = !one.code.is_go && !one.symbols.iter().any(|symbol| Names::is_mangled(symbol));
        match ends {
            Some(ends) if ends.is_empty() => {
                chosen.obstacle = Some(format!(
                    "{} never returns: nothing in its code leaves it",
                    one.symbols[0]
                ));
            }
            Some(ends) => chosen.ends.extend(ends.into_iter().map(spot)),
            None if may_be_trapped => trapped.push(place),
            None => {
                chosen.obstacle = Some(format!("where {} returns cannot be told from its code", one.symbols[0]));
            }
        }
        chosen.symbols.extend(one.symbols);
        chosen.entries.push(spot(one.entry));
        if chosen.ends.len() > ENDS {
            chosen.obstacle = Some(format!("it is left by more than {ENDS} instructions"));
        }
    }
    for place in trapped {
        let chosen = &mut all[place];
        if !chosen.ends.is_empty() {
            chosen.obstacle = Some("where some of its functions return cannot be told from their code".to_owned());
        }
    }
    all
}

/// The static probes of this name.
fn named<'a>(
    probes: &'a [StaticProbe],
    provider: &str,
    name: &str,
    file: &Path,
) -> Result<Vec<&'a StaticProbe>, MatchError> {
    let is_meant = |probe: &&StaticProbe| matches(provider, &probe.provider) && matches(name, &probe.name);
    let found: Vec<_> = probes.iter().filter(is_meant).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let wanted = format!("{provider}:{name}");
    let mut near = Near::to(&wanted);
    for probe in probes {
        near.consider(&format!("{}:{}", probe.provider, probe.name));
    }
    let mut hint = near.hint();
    if probes.is_empty() {
        "; it has none at all".clone_into(&mut hint);
    }
    Err(MatchError::NoProbe {
        wanted,
        file: file.to_owned(),
        hint,
    })
}

/// A probe may stand in several places of the code: they are one.
fn probes_by_name(choice: &Choice, found: &[&StaticProbe], file: &Path) -> Vec<Chosen> {
    let mut all: Vec<Chosen> = Vec::new();
    for probe in found {
        let label = format!("{}:{}", probe.provider, probe.name);
        let name = choice.name.clone().unwrap_or_else(|| label.clone());
        let place = all.iter().position(|known| known.name == name);
        let place = place.unwrap_or_else(|| {
            all.push(Chosen {
                name,
                sort: FunctionSort::Probe,
                ..blank(choice, file)
            });
            all.len() - 1
        });
        let chosen = &mut all[place];
        if !chosen.symbols.contains(&label) {
            chosen.symbols.push(label);
        }
        chosen.entries.extend(spots(&[probe]));
        chosen.doubt = chosen.doubt.or(doubt(&[probe]));
    }
    all
}

/// Why hits of these probes may be missed.
fn doubt(probes: &[&StaticProbe]) -> Option<&'static str> {
    probes.iter().any(|probe| probe.in_two_mappings).then_some(
        "its counter (a semaphore) lies in a page of the file that is mapped twice, and the kernel may raise it in the other \
         mapping: then no hit is seen",
    )
}

fn spot(offset: u64) -> Spot {
    Spot { offset, semaphore: 0 }
}

fn spots(probes: &[&StaticProbe]) -> Vec<Spot> {
    let mut spots: Vec<_> = probes
        .iter()
        .map(|probe| Spot {
            offset: probe.offset,
            semaphore: probe.semaphore,
        })
        .collect();
    spots.sort_unstable();
    spots.dedup();
    spots
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Result<Vec<Chosen>, String> {
        let choice = Choice::parse(text).expect("a choice");
        find(&choice).map_err(|error| error.to_string())
    }

    #[test]
    fn functions_of_the_c_library_are_found_by_name() {
        let all = found("libc.so.6:getaddrinfo").expect("it is there");
        assert_eq!(all.len(), 1);
        assert_eq!(
            (all[0].name.as_str(), all[0].sort),
            ("getaddrinfo", FunctionSort::Function)
        );
        assert_eq!(all[0].entries.len(), 1);
        let all = found("libc.so.6:getaddr*=lookup").expect("it is there");
        assert_eq!((all.len(), all[0].name.as_str()), (1, "lookup"), "one name for all");
    }

    #[test]
    fn wrong_names_are_told_with_near_ones_before_anything_is_probed() {
        let fault = found("libc.so.6:getadrinfo").expect_err("no such function");
        assert!(fault.contains("near to it: getaddrinfo"), "{fault}");
        let fault = found("libc.so.6:*").expect_err("too many");
        assert!(fault.contains("at most 64"), "{fault}");
        let fault = found("/no/such/file:main").expect_err("no file");
        assert_eq!(fault, "there is no file /no/such/file");
    }

    #[test]
    fn rust_functions_are_found_by_their_paths() {
        let own = std::env::current_exe().expect("the test has a path");
        let path = "perf_agent::functions::matching::tests::found";
        let all = found(&format!("{}:{path}", own.display())).expect("it is there");
        assert_eq!(all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), [path]);
    }
}
