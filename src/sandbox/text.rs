//! How the institutions write times and amounts.

use crate::domain::Timestamp;

/// RFC 3339 in UTC, whole seconds: `2026-03-02T09:30:00+00:00`.
pub(super) fn date_time(at: Timestamp) -> String {
    civil(at).map_or_else(String::new, |at| at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string())
}

/// `2026-03-02`.
pub(super) fn date(at: Timestamp) -> String {
    civil(at).map_or_else(String::new, |at| at.strftime("%Y-%m-%d").to_string())
}

fn civil(at: Timestamp) -> Option<jiff::civil::DateTime> {
    let at = jiff::Timestamp::from_second(at.secs()).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).datetime())
}

/// Reads a date and time and ignores its zone, as the UK standard wants of filters.
pub(super) fn parse_zoneless(text: &str) -> Option<Timestamp> {
    let (date_and_time, zone) = text.split_at_checked(19)?;
    let zone_known = zone.is_empty() || zone.starts_with(['Z', '+', '-', '.']);
    let at: jiff::civil::DateTime = date_and_time.parse().ok().filter(|_| zone_known)?;
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_secs(at.timestamp().as_second()))
}

/// Reads `2026-03-02`: its first second in UTC.
pub(super) fn parse_date(text: &str) -> Option<Timestamp> {
    let day: jiff::civil::Date = text.parse().ok()?;
    let at = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_secs(at.timestamp().as_second()))
}

/// Pence or cents as text with two decimals, without a sign.
pub(super) fn two_decimals(minor_units: i64) -> String {
    let units = minor_units.unsigned_abs();
    format!("{}.{:02}", units / 100, units % 100)
}

/// Midnight (UTC) of the day.
pub(super) const fn midnight(at: Timestamp) -> Timestamp {
    Timestamp::from_secs(at.secs().div_euclid(86_400) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::NOW;

    #[test]
    fn times_are_written_and_read() {
        assert_eq!(date_time(NOW), "2026-03-02T09:30:00+00:00");
        assert_eq!(date(NOW), "2026-03-02");
        assert_eq!(parse_date("2026-03-02"), Some(midnight(NOW)));
        for (text, expected) in [
            ("2026-03-02T09:30:00", Some(NOW)),
            ("2026-03-02T09:30:00Z", Some(NOW)),
            ("2026-03-02T09:30:00+05:00", Some(NOW)),
            ("2026-03-02T09:30:00.250Z", Some(NOW)),
            ("2026-13-02T09:30:00", None),
            ("2026-03-02", None),
            ("2026-03-02T09:30:00 or so", None),
        ] {
            assert_eq!(parse_zoneless(text), expected, "{text}");
        }
    }

    #[test]
    fn amounts_have_two_decimals_and_no_sign() {
        for (minor, text) in [(0, "0.00"), (5, "0.05"), (-12_345, "123.45"), (100, "1.00")] {
            assert_eq!(two_decimals(minor), text);
        }
    }
}
