//! Pressure stall information (Documentation/accounting/psi.rst): since Linux 4.20, where it is switched on.

use super::columns::{columns, lines, number};
use super::files::Files;
use crate::resources::{Pressure, Pressures};

/// The host's.
pub(super) fn read(files: &mut Files) -> Pressures {
    Pressures {
        cpu: files.read("proc/pressure/cpu").and_then(of),
        memory: files.read("proc/pressure/memory").and_then(of),
        io: files.read("proc/pressure/io").and_then(of),
    }
}

/// `some avg10=0.55 avg60=0.48 avg300=0.89 total=19169531`, and for all tasks `full …`, which processors have since 5.13.
pub(super) fn of(text: &[u8]) -> Option<Pressure> {
    let share = |kind: &[u8]| {
        let line = lines(text).find_map(|line| line.strip_prefix(kind))?;
        let percent: f64 = columns(line).find_map(|column| number(column.strip_prefix(b"avg10=")?))?;
        percent.is_finite().then(|| (percent / 100.0).clamp(0.0, 1.0))
    };
    Some(Pressure {
        some: share(b"some ")?,
        full: share(b"full "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_the_last_ten_seconds_are_read() {
        let text =
            b"some avg10=50.00 avg60=0.14 avg300=0.45 total=6452706\nfull avg10=25.00 avg60=0.14 avg300=0.42 total=5\n";
        assert_eq!(
            of(text),
            Some(Pressure {
                some: 0.5,
                full: Some(0.25),
            })
        );
        let some = |text: &str| of(text.as_bytes()).map(|pressure| (pressure.some, pressure.full));
        assert_eq!(
            some("some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
            Some((0.0, None))
        );
        assert_eq!(some("some avg10=900 total=0\nfull avg10=-3"), Some((1.0, Some(0.0))));
        for text in [
            "",
            "some",
            "some avg10=",
            "some avg10=NaN",
            "some avg10=inf",
            "full avg10=1.0",
        ] {
            assert_eq!(some(text), None, "{text}");
        }
    }
}
