//! Times as models write them (tools.md §6.2): ISO dates and times, words like "yesterday", spans like "-3d". Read by the
//! user's clock. What cannot be read is refused with today's date; nothing is ever changed silently. Pure.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan, Zoned};

/// Longest text that is looked at, in bytes.
const LONGEST: usize = 64;

/// Which end of a time range is meant: a plain day begins or ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// From its first moment on.
    Since,
    /// Up to its last.
    Until,
}

/// The clock by which times are read.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    now: Zoned,
}

impl Clock {
    pub(crate) fn new(now: Timestamp, zone: TimeZone) -> Self {
        Self { now: now.to_zoned(zone) }
    }

    /// Reads the ends of a range.
    ///
    /// # Errors
    /// A sentence for the model.
    pub(crate) fn range(
        &self,
        since: Option<&str>,
        until: Option<&str>,
    ) -> Result<(Option<Timestamp>, Option<Timestamp>), String> {
        let since = since.map(|text| self.read(text, Edge::Since)).transpose()?;
        let until = until.map(|text| self.read(text, Edge::Until)).transpose()?;
        if since.is_some_and(|since| since > self.now.timestamp()) {
            return Err(format!("'since' lies in the future: {}.", self.today()));
        }
        if since.zip(until).is_some_and(|(since, until)| since >= until) {
            return Err(format!("'since' must lie before 'until'. {}.", self.today()));
        }
        Ok((since, until))
    }

    /// One time.
    ///
    /// # Errors
    /// A sentence for the model.
    pub(crate) fn read(&self, text: &str, edge: Edge) -> Result<Timestamp, String> {
        let clean = text.trim().to_lowercase();
        let shown: String = text.trim().chars().filter(|c| !c.is_control()).take(40).collect();
        let unreadable = || {
            format!(
                "'{shown}' is no date that can be read. {}. Write YYYY-MM-DD, YYYY-MM-DDTHH:MM, today, yesterday, last \
                 week or a span like -3d.",
                self.today()
            )
        };
        if clean.is_empty() || clean.len() > LONGEST {
            return Err(unreadable());
        }
        let found = self.period(&clean, edge).or_else(|| self.ago(&clean)).or_else(|| self.iso(&clean, edge));
        found.ok_or_else(unreadable)
    }

    fn today(&self) -> String {
        format!("Today is {}", self.now.strftime("%A, %Y-%m-%d"))
    }

    /// A named day, week, month or year.
    fn period(&self, text: &str, edge: Edge) -> Option<Timestamp> {
        let today = self.now.date();
        let monday = today.checked_sub(i64::from(today.weekday().to_monday_zero_offset()).days()).ok()?;
        let (first, length): (Date, Span) = match text {
            "now" => return Some(self.now.timestamp()),
            "today" => (today, 1.day()),
            "yesterday" => (today.yesterday().ok()?, 1.day()),
            "tomorrow" => (today.tomorrow().ok()?, 1.day()),
            "this week" => (monday, 1.week()),
            "last week" => (monday.checked_sub(1.week()).ok()?, 1.week()),
            "this month" => (today.first_of_month(), 1.month()),
            "last month" => (today.first_of_month().checked_sub(1.month()).ok()?, 1.month()),
            "this year" => (today.first_of_year(), 1.year()),
            "last year" => (today.first_of_year().checked_sub(1.year()).ok()?, 1.year()),
            _ => return None,
        };
        self.day(first, length, edge)
    }

    /// `-3d`, `3d`, `3 days ago`: that long before now.
    fn ago(&self, text: &str) -> Option<Timestamp> {
        let text = text.strip_prefix('-').unwrap_or(text);
        let text = text.strip_suffix("ago").unwrap_or(text).trim();
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (count, unit) = text.split_at(digits);
        let count: i64 = count.parse().ok().filter(|count| *count <= 100_000)?;
        let span = match unit.trim() {
            "m" | "min" | "mins" | "minute" | "minutes" => count.minutes(),
            "h" | "hr" | "hour" | "hours" => count.hours(),
            "d" | "day" | "days" => count.days(),
            "w" | "week" | "weeks" => count.weeks(),
            "mo" | "month" | "months" => count.months(),
            "y" | "year" | "years" => Span::new().try_years(count).ok()?,
            _ => return None,
        };
        Some(self.now.checked_sub(span).ok()?.timestamp())
    }

    fn iso(&self, text: &str, edge: Edge) -> Option<Timestamp> {
        if let Ok(date) = Date::strptime("%Y-%m-%d", text) {
            return self.day(date, 1.day(), edge);
        }
        let text = text.replacen(' ', "t", 1).to_uppercase();
        if let Ok(time) = text.parse::<Timestamp>() {
            return Some(time);
        }
        let local: DateTime = text.parse().ok()?;
        Some(local.to_zoned(self.now.time_zone().clone()).ok()?.timestamp())
    }

    fn day(&self, first: Date, length: Span, edge: Edge) -> Option<Timestamp> {
        let date = match edge {
            Edge::Since => first,
            Edge::Until => first.checked_add(length).ok()?,
        };
        Some(date.to_zoned(self.now.time_zone().clone()).ok()?.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Wednesday, 18 November 2026, 15:30 in Berlin (UTC+1).
    fn clock() -> Clock {
        let now: Timestamp = "2026-11-18T14:30:00Z".parse().expect("a time");
        Clock::new(now, TimeZone::get("Europe/Berlin").expect("a zone"))
    }

    fn read(text: &str, edge: Edge) -> String {
        clock().read(text, edge).map_or_else(|why| why, |time| time.to_string())
    }

    #[test]
    fn days_are_those_of_the_user_and_end_when_they_end() {
        for (text, since, until) in [
            ("today", "2026-11-17T23:00:00Z", "2026-11-18T23:00:00Z"),
            (" Yesterday ", "2026-11-16T23:00:00Z", "2026-11-17T23:00:00Z"),
            ("2026-11-18", "2026-11-17T23:00:00Z", "2026-11-18T23:00:00Z"),
            ("last week", "2026-11-08T23:00:00Z", "2026-11-15T23:00:00Z"),
            ("this week", "2026-11-15T23:00:00Z", "2026-11-22T23:00:00Z"),
            ("last month", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
            ("last year", "2024-12-31T23:00:00Z", "2025-12-31T23:00:00Z"),
            // The day on which clocks went back has 25 hours.
            ("2026-10-25", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        ] {
            assert_eq!((read(text, Edge::Since).as_str(), read(text, Edge::Until).as_str()), (since, until), "{text}");
        }
    }

    #[test]
    fn times_and_spans_mean_one_moment() {
        for (text, time) in [
            ("2026-11-18T09:15", "2026-11-18T08:15:00Z"),
            ("2026-11-18 09:15:30", "2026-11-18T08:15:30Z"),
            ("2026-11-18T09:15:00Z", "2026-11-18T09:15:00Z"),
            ("2026-11-18t09:15:00-05:00", "2026-11-18T14:15:00Z"),
            ("now", "2026-11-18T14:30:00Z"),
            ("-3d", "2026-11-15T14:30:00Z"),
            ("2 hours ago", "2026-11-18T12:30:00Z"),
            ("30m", "2026-11-18T14:00:00Z"),
            ("-1mo", "2026-10-18T13:30:00Z"),
            // Long ago is long ago.
            ("2019-05-01T12:00", "2019-05-01T10:00:00Z"),
        ] {
            assert_eq!((read(text, Edge::Since).as_str(), read(text, Edge::Until).as_str()), (time, time), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_the_date() {
        for text in ["", "soon", "2026-13-40", "-3x", "--3d", "99999999999999d", "%", "'; DROP TABLE", &"9".repeat(99)]
        {
            let why = read(text, Edge::Since);
            assert!(why.contains("Today is Wednesday, 2026-11-18"), "{text}: {why}");
        }
        let clock = clock();
        assert!(clock.range(Some("tomorrow"), None).is_err_and(|why| why.contains("in the future")));
        assert!(clock.range(Some("today"), Some("yesterday")).is_err());
        assert!(clock.range(Some("yesterday"), Some("yesterday")).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-+0-9a-zT:Z. ]{0,30}", any in ".{0,20}") {
            let clock = clock();
            let _ = (clock.read(&text, Edge::Since), clock.read(&any, Edge::Until));
        }
    }
}
