//! Reads the text formats, and takes nothing that they do not allow.

use std::collections::HashSet;

/// Labels, value and time.
pub(super) type Exemplar = (Vec<(String, String)>, f64, Option<f64>);

#[derive(Debug)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: f64,
    pub(super) exemplar: Option<Exemplar>,
}

#[derive(Debug, Default)]
pub(super) struct Family {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) help: String,
    pub(super) samples: Vec<Sample>,
}

#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) families: Vec<Family>,
}

impl Sample {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(other, _)| other == name)?;
        Some(&found.1)
    }

    fn without(&self, name: &str) -> Vec<(String, String)> {
        self.labels.iter().filter(|(other, _)| other != name).cloned().collect()
    }
}

impl Metrics {
    pub(super) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.iter().flat_map(|family| &family.samples)
    }

    /// The one sample of this name that has these labels.
    #[track_caller]
    pub(super) fn find(&self, name: &str, labels: &[(&str, &str)]) -> &Sample {
        let fits = |sample: &&Sample| {
            sample.name == name && labels.iter().all(|(name, value)| sample.label(name) == Some(value))
        };
        let found: Vec<_> = self.samples().filter(fits).collect();
        assert_eq!(found.len(), 1, "{name} {labels:?}: {found:?}");
        found[0]
    }

    #[track_caller]
    pub(super) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).value
    }
}

/// What remains to be read.
struct Reader<'a>(&'a str);

impl<'a> Reader<'a> {
    fn take(&mut self, text: &str) -> Result<(), String> {
        self.0 = self
            .0
            .strip_prefix(text)
            .ok_or_else(|| format!("no {text:?} at {:?}", self.0))?;
        Ok(())
    }

    fn name(&mut self, colon: bool) -> Result<&'a str, String> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (colon && byte == b':');
        let length = self.0.bytes().take_while(|&byte| is_part(byte)).count();
        let (name, rest) = self.0.split_at(length);
        if name.is_empty() || name.as_bytes()[0].is_ascii_digit() {
            return Err(format!("no name at {:?}", self.0));
        }
        self.0 = rest;
        Ok(name)
    }

    fn quoted(&mut self) -> Result<String, String> {
        self.take("\"")?;
        let mut text = String::new();
        let mut characters = self.0.char_indices();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Ok(text);
                }
                '\\' => text.push(match characters.next() {
                    Some((_, '\\')) => '\\',
                    Some((_, '"')) => '"',
                    Some((_, 'n')) => '\n',
                    other => return Err(format!("escaped {other:?}")),
                }),
                other => text.push(other),
            }
        }
        Err("a text without an end".to_owned())
    }

    fn labels(&mut self) -> Result<Vec<(String, String)>, String> {
        self.take("{")?;
        let mut labels: Vec<(String, String)> = Vec::new();
        loop {
            let name = self.name(false)?.to_owned();
            self.take("=")?;
            if name.starts_with("__") || labels.iter().any(|(other, _)| *other == name) {
                return Err(format!("label {name}"));
            }
            labels.push((name, self.quoted()?));
            if self.take("}").is_ok() {
                return Ok(labels);
            }
            self.take(",")?;
        }
    }

    fn number(&mut self) -> Result<f64, String> {
        let length = self.0.find(' ').unwrap_or(self.0.len());
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        number(text)
    }
}

fn number(text: &str) -> Result<f64, String> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        "NaN" => Ok(f64::NAN),
        _ if text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b"+-.e".contains(&byte)) =>
        {
            text.parse().map_err(|error| format!("{text:?}: {error}"))
        }
        _ => Err(format!("{text:?} is no number")),
    }
}

fn sample(line: &str, open: bool) -> Result<Sample, String> {
    let mut reader = Reader(line);
    let name = reader.name(true)?.to_owned();
    let labels = if reader.0.starts_with('{') {
        reader.labels()?
    } else {
        Vec::new()
    };
    reader.take(" ")?;
    let value = reader.number()?;
    let mut exemplar = None;
    if open && reader.take(" # ").is_ok() {
        let labels = reader.labels()?;
        let characters: usize = labels
            .iter()
            .map(|(name, value)| name.chars().count() + value.chars().count())
            .sum();
        if characters > 128 {
            return Err(format!("an exemplar of {characters} characters"));
        }
        reader.take(" ")?;
        let value = reader.number()?;
        let at = if reader.take(" ").is_ok() {
            Some(reader.number()?)
        } else {
            None
        };
        exemplar = Some((labels, value, at));
    }
    if !reader.0.is_empty() {
        return Err(format!("{:?} is left", reader.0));
    }
    Ok(Sample {
        name,
        labels,
        value,
        exemplar,
    })
}

/// The families of a text.
pub(super) fn parse(text: &str, open: bool) -> Result<Metrics, String> {
    let mut families: Vec<Family> = Vec::new();
    let body = if open {
        text.strip_suffix("# EOF\n").ok_or("no end")?
    } else {
        text
    };
    if !body.is_empty() && !body.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    for line in body.split_terminator('\n') {
        line_of(line, open, &mut families).map_err(|wrong| format!("{wrong}: {line}"))?;
    }
    let (mut names, mut series) = (HashSet::new(), HashSet::new());
    for family in &families {
        if !names.insert(family.name.clone()) {
            return Err(format!("{} twice", family.name));
        }
        for sample in &family.samples {
            let mut labels = sample.labels.clone();
            labels.sort();
            if !series.insert((sample.name.clone(), labels)) {
                return Err(format!("{sample:?} twice"));
            }
        }
        if family.kind == "histogram" {
            histogram(family).map_err(|wrong| format!("{}: {wrong}", family.name))?;
        }
    }
    Ok(Metrics { families })
}

fn line_of(line: &str, open: bool, families: &mut Vec<Family>) -> Result<(), String> {
    if let Some(rest) = line.strip_prefix("# HELP ") {
        let (name, help) = rest.split_once(' ').ok_or("no help")?;
        let help = Reader(&format!(
            "\"{}\"",
            if open {
                help.to_owned()
            } else {
                help.replace('"', "\\\"")
            }
        ))
        .quoted()?;
        families.push(Family {
            name: name.to_owned(),
            help,
            ..Family::default()
        });
        return Ok(());
    }
    let family = families.last_mut().ok_or("nothing before")?;
    if let Some(rest) = line.strip_prefix("# TYPE ") {
        let (name, kind) = rest.split_once(' ').ok_or("no type")?;
        let known: &[&str] = if open {
            &["counter", "gauge", "histogram", "summary", "info"]
        } else {
            &["counter", "gauge", "histogram", "summary"]
        };
        if name != family.name || !family.kind.is_empty() || !known.contains(&kind) {
            return Err("a type out of place".to_owned());
        }
        family.kind = kind.to_owned();
        return Ok(());
    }
    if let Some(rest) = line.strip_prefix("# UNIT ") {
        let (name, unit) = rest.split_once(' ').ok_or("no unit")?;
        if !open || name != family.name || !family.samples.is_empty() || !name.ends_with(&format!("_{unit}")) {
            return Err("a unit out of place".to_owned());
        }
        return Ok(());
    }
    let sample = sample(line, open)?;
    let suffix = sample.name.strip_prefix(&family.name).ok_or("not of this family")?;
    let allowed: &[&str] = match family.kind.as_str() {
        "counter" if open => &["_total"],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_sum", "_count"],
        "summary" => &["_sum", "_count"],
        "" => return Err("no type before".to_owned()),
        _ => &[""],
    };
    if !allowed.contains(&suffix) || (sample.exemplar.is_some() && suffix != "_bucket") {
        return Err("not of this type".to_owned());
    }
    if family.kind == "counter" && (sample.value < 0.0 || (!open && !sample.name.ends_with("_total"))) {
        return Err("no counter".to_owned());
    }
    family.samples.push(sample);
    Ok(())
}

/// Each series: buckets that grow, with bounds that do, then sum and count, of which the last is the last bucket's.
fn histogram(family: &Family) -> Result<(), String> {
    let mut samples = family.samples.iter().peekable();
    while let Some(first) = samples.peek() {
        let labels = first.without("le");
        let (mut bound, mut count) = (f64::NEG_INFINITY, 0.0);
        while let Some(bucket) = samples.next_if(|sample| sample.name.ends_with("_bucket")) {
            let le = number(bucket.label("le").ok_or("no bound")?)?;
            if le <= bound || bucket.value < count || bucket.without("le") != labels {
                return Err(format!("{bucket:?} after {bound} {count}"));
            }
            if let Some((_, value, _)) = &bucket.exemplar
                && (*value > le || *value <= bound)
            {
                return Err(format!("{bucket:?}: not an example of its bucket"));
            }
            (bound, count) = (le, bucket.value);
        }
        let mut next = || {
            samples
                .next()
                .filter(|sample| sample.labels == labels)
                .ok_or("something else")
        };
        let (sum, last) = (next()?, next()?);
        if bound.is_finite()
            || !sum.name.ends_with("_sum")
            || !last.name.ends_with("_count")
            || last.value < count
            || last.value > count
        {
            return Err(format!("{count} {sum:?} {last:?}"));
        }
    }
    Ok(())
}

#[test]
fn the_parser_itself_finds_what_is_wrong() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{b=\"\\\\c\\\"\\n\"} 1\n";
    let read = parse(good, false).unwrap();
    assert_eq!(read.value("a_total", &[("b", "\\c\"\n")]).to_string(), "1");
    let head = "# HELP a A.\n# TYPE a gauge\n";
    for wrong in [
        "a 1\n",
        "# HELP a A.\na 1\n",
        "# HELP a A.\n# TYPE a gauge\na 1",
        &format!("{head}a 1\na 1\n"),
        &format!("{head}a{{b=\"1\",b=\"2\"}} 1\n"),
        &format!("{head}a{{}} 1\n"),
        &format!("{head}a{{b=\"\\t\"}} 1\n"),
        &format!("{head}b 1\n"),
        &format!("{head}a x\n"),
        &format!("{head}{head}"),
        &format!("{head}# UNIT a seconds\n"),
        "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n",
        "# HELP a A.\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
    ] {
        assert!(parse(wrong, false).is_err(), "{wrong}");
    }
    assert!(parse(head, true).is_err(), "no end");
}
