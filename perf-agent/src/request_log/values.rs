//! The values of chosen fields that a request's head has.

use memchr::memchr;
use smallvec::SmallVec;

use super::Names;

/// Values of one field that are kept; of more, the newest. What proxies add stands at the end.
const MAX_VALUES: usize = 8;

/// Values with the place of their field's name, in order.
#[derive(Debug, Default)]
pub struct Values<'a>(SmallVec<[(u8, &'a [u8]); 8]>);

impl<'a> Values<'a> {
    /// Keeps a value of the field of this place.
    pub fn push(&mut self, place: u8, value: &'a [u8]) {
        let same = |(other, _): &&(u8, &[u8])| *other == place;
        if self.0.iter().filter(same).count() >= MAX_VALUES
            && let Some(oldest) = self.0.iter().position(|(other, _)| *other == place)
        {
            self.0.remove(oldest);
        }
        self.0.push((place, value));
    }

    /// Of a head's field lines (RFC 9112, 5), up to the empty one. A line that is not ended is none: it may be cut.
    pub fn of_lines(lines: &'a [u8], names: &Names) -> Self {
        let mut values = Self::default();
        if names.is_empty() {
            return values;
        }
        let (mut rest, mut last) = (lines, None);
        while let Some(end) = memchr(b'\n', rest) {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            match line {
                [] | [b'\r'] => break,
                // A folded line goes on with a value (5.2).
                [b' ' | b'\t', ..] => {
                    if let Some(place) = last {
                        values.push(place, line.trim_ascii());
                    }
                }
                _ => {
                    last = memchr(b':', line).and_then(|colon| {
                        let place = names.find(line[..colon].trim_ascii_end())?;
                        values.push(place, line[colon + 1..].trim_ascii());
                        Some(place)
                    });
                }
            }
        }
        values
    }

    /// All.
    pub fn all(&self) -> &[(u8, &'a [u8])] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        let mut names = Names::none();
        names.add("x-user");
        names.add("via");
        names
    }

    #[test]
    fn chosen_fields_are_found_among_others() {
        let names = names();
        let lines = b" HTTP/1.1\r\nHost: a\r\nX-USER : ann \r\nvia:1\n 2\r\nx-users: no\r\nVia: 3\r\n\r\nvia: body\r\n";
        let values = Values::of_lines(lines, &names);
        let expected: &[(u8, &[u8])] = &[(0, b"ann"), (1, b"1"), (1, b"2"), (1, b"3")];
        assert_eq!(values.all(), expected);
        assert_eq!(Values::of_lines(b"via: cut", &names).all(), []);
        assert_eq!(Values::of_lines(lines, &Names::none()).all(), []);
    }

    #[test]
    fn of_many_values_the_newest_stay() {
        let lines: Vec<_> = (0..200).map(|number| format!("via: {number}\r\n")).collect();
        let lines = format!("x-user: ann\r\n{}", lines.concat());
        let names = names();
        let values = Values::of_lines(lines.as_bytes(), &names);
        assert_eq!(values.all().len(), 1 + MAX_VALUES);
        assert_eq!((values.all()[0].1, values.all()[8].1), (&b"ann"[..], &b"199"[..]));
    }
}
