//! Instants as people write them: the proleptic Gregorian calendar in UTC.

/// Seconds of a day.
pub const DAY_S: i64 = 86_400;

/// Reads `2017-12-02`, `2017-12-02 05:00:00`, `2017-12-02T05:00:00` or the same with a final `Z`,
/// as Unix seconds in UTC; `None` for anything else.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    if !text.is_ascii() || text.len() < 10 {
        return None;
    }
    let (date, clock) = text.split_at(10);
    let [year, month, day] = numbers(date, '-', &[4, 2, 2])?;
    let [hour, minute, second] = match clock.strip_prefix(['T', ' ']) {
        Some(clock) => numbers(clock, ':', &[2, 2, 2])?,
        None if clock.is_empty() => [0, 0, 0],
        None => return None,
    };
    let days = days_from_civil(year, month, day);
    let real = (1..=12).contains(&month) && (1..=31).contains(&day);
    let real = real && civil_from_days(days) == (year, month, day);
    (real && hour < 24 && minute < 60 && second < 60)
        .then_some(days * DAY_S + hour * 3600 + minute * 60 + second)
}

/// Writes Unix seconds as `2017-12-02T05:00:00Z`.
#[must_use]
pub fn instant(seconds: i64) -> String {
    let clock = seconds.rem_euclid(DAY_S);
    format!("{}T{:02}:{:02}:{:02}Z", date(seconds), clock / 3600, clock / 60 % 60, clock % 60)
}

/// Writes the date of Unix seconds as `2017-12-02`.
#[must_use]
pub fn date(seconds: i64) -> String {
    let (year, month, day) = civil_from_days(seconds.div_euclid(DAY_S));
    format!("{year:04}-{month:02}-{day:02}")
}

/// Day of the week of Unix seconds, 0 for Monday.
#[must_use]
pub fn weekday(seconds: i64) -> usize {
    // 1 January 1970 was a Thursday.
    (seconds.div_euclid(DAY_S) + 3).rem_euclid(7) as usize
}

fn numbers(text: &str, separator: char, widths: &[usize; 3]) -> Option<[i64; 3]> {
    let mut parts = text.split(separator);
    let mut out = [0; 3];
    for (slot, width) in out.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != *width || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(out)
}

/// Days since 1970-01-01, with years that begin in March so that a leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_instants() {
        assert_eq!(parse("1970-01-01"), Some(0));
        assert_eq!(parse("2017-12-02T05:00:00Z"), Some(1_512_190_800));
        assert_eq!(instant(1_512_190_800), "2017-12-02T05:00:00Z");
        assert_eq!(parse("2000-02-29 00:00:01"), Some(951_782_401));
        assert_eq!(weekday(1_512_190_800), 5);
        for bad in ["2017-02-29", "2017-13-01", "2017-1-01", "2017-12-02T25:00:00", "soon", ""] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(seconds in -62_000_000_000i64..250_000_000_000) {
            prop_assert_eq!(parse(&instant(seconds)), Some(seconds));
        }
    }
}
