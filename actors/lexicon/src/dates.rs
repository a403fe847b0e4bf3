//! Times that a question names: "in June", "on 3 May 2023", "yesterday", "two weeks ago". Pure; the present is an argument.
//! Deliberately absent: hours of a day, and languages other than English except ISO dates and years.

use std::ops::Range;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan};

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const NUMBERS: [&str; 11] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
/// Days after a named month in which people still speak of it.
const AFTER_A_MONTH: i64 = 10;
/// Years for which a date without a year is looked up.
const YEARS: i16 = 50;

/// A time that a question names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// From the first to the last of these days.
    Days(Date, Date),
    /// A month, in any year if none is named.
    Month(Option<i16>, i8),
    /// A day of a month, in any year if none is named.
    Day(Option<i16>, i8, i8),
    /// A year.
    Year(i16),
}

impl Named {
    /// How well a message of that day fits: 1 on the day or within the time named, less soon after it, since people tell of
    /// things when they are over, and 0 elsewhere.
    pub(crate) fn fits(self, day: Date) -> f32 {
        match self {
            Self::Days(from, to) if from <= day && day <= to => 1.0,
            Self::Days(from, to) => near(days_between(to, day).max(days_between(day, from))),
            Self::Month(year, month) => {
                let named = year.unwrap_or(day.year() - i16::from(month > day.month()));
                let Ok(first) = Date::new(named, month, 1) else { return 0.0 };
                match days_between(first.last_of_month(), day) {
                    after if after > AFTER_A_MONTH => 0.0,
                    1.. => 0.5,
                    _ if day >= first => 1.0,
                    _ => 0.0,
                }
            }
            Self::Day(year, month, of_month) => {
                let years = year.map_or(day.year() - 1..=day.year() + 1, |year| year..=year);
                let fit =
                    |year| match Date::new(year, month, of_month).map_or(i64::MAX, |named| days_between(named, day)) {
                        0 => 1.0,
                        1..=2 => 0.8,
                        -1..=7 => 0.5,
                        _ => 0.0,
                    };
                years.map(fit).fold(0.0, f32::max)
            }
            Self::Year(year) => f32::from(u8::from(day.year() == year)),
        }
    }

    /// The times from first to last, in microseconds since 1970, that fit within the years of `first` and `last`, newest
    /// first.
    pub(crate) fn spans(self, zone: &TimeZone, first: i64, last: i64) -> Vec<(i64, i64)> {
        let (Some(first), Some(last)) = (day_of(first, zone), day_of(last, zone)) else { return Vec::new() };
        let years = |year: Option<i16>| {
            let from = year.unwrap_or(first.year().max(last.year().saturating_sub(YEARS)));
            (from..=year.unwrap_or(last.year())).rev()
        };
        let day = |year, month, day| Date::new(year, month, day).ok();
        let days: Vec<(Date, Date)> = match self {
            Self::Days(from, to) => vec![(from, to)],
            Self::Month(year, month) => years(year)
                .filter_map(|year| Some((day(year, month, 1)?, day(year, month, 1)?.last_of_month())))
                .collect(),
            Self::Day(year, month, of_month) => {
                years(year).filter_map(|year| day(year, month, of_month).map(|day| (day, later(day, 2)))).collect()
            }
            Self::Year(year) => day(year, 1, 1).map(|day| (day, day.last_of_year())).into_iter().collect(),
        };
        let start = |day: Date| day.to_zoned(zone.clone()).map(|at| at.timestamp().as_microsecond()).ok();
        days.into_iter().filter_map(|(from, to)| Some((start(from)?, start(later(to, 1))?))).collect()
    }
}

/// The day of a time in microseconds since 1970.
pub(crate) fn day_of(at: i64, zone: &TimeZone) -> Option<Date> {
    Timestamp::from_microsecond(at).ok().map(|at| zone.to_datetime(at).date())
}

fn near(days: i64) -> f32 {
    if days <= 1 { 0.5 } else { 0.0 }
}

/// Days from one to another; negative when the other is earlier.
fn days_between(from: Date, to: Date) -> i64 {
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

fn later(day: Date, days: i64) -> Date {
    day.saturating_add(days.days())
}

/// Whether a word tells of a time: what an answer to "when" contains.
pub(crate) fn is_time_word(word: &str) -> bool {
    const WORDS: [&str; 20] = [
        "ago",
        "just",
        "last",
        "month",
        "months",
        "next",
        "recently",
        "since",
        "today",
        "tomorrow",
        "tonight",
        "week",
        "weekend",
        "weeks",
        "year",
        "years",
        "yesterday",
        "night",
        "morning",
        "days",
    ];
    let is_month = |name: &&str| *name == word && !matches!(word, "may" | "march");
    WORDS.contains(&word) || WEEKDAYS.contains(&word) || MONTHS.iter().any(is_month) || year_of(word).is_some()
}

fn year_of(word: &str) -> Option<i16> {
    word.parse().ok().filter(|year| word.len() == 4 && (1900..2100).contains(year))
}

fn month_of(word: &str) -> Option<i8> {
    MONTHS.iter().position(|name| *name == word).and_then(|month| i8::try_from(month + 1).ok())
}

fn weekday_of(word: &str) -> Option<Weekday> {
    let number = WEEKDAYS.iter().position(|name| *name == word)?;
    Weekday::from_monday_zero_offset(i8::try_from(number).ok()?).ok()
}

fn of_month(word: &str) -> Option<i8> {
    let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    digits.parse().ok().filter(|day| {
        (1..=31).contains(day) && matches!(word.get(digits.len()..), Some("" | "st" | "nd" | "rd" | "th"))
    })
}

fn number(word: &str) -> Option<i64> {
    match word {
        "a" | "an" => Some(1),
        _ => NUMBERS
            .iter()
            .position(|name| *name == word)
            .and_then(|number| i64::try_from(number).ok())
            .or_else(|| word.parse().ok().filter(|number| (0..=1_000).contains(number))),
    }
}

/// The times named by words in lower case, as seen on `today`, with the words that name each.
pub(crate) fn named(words: &[&str], today: Date) -> Vec<(Named, Range<usize>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() && found.len() < 4 {
        let word = |offset: usize| words.get(at + offset).copied().unwrap_or_default();
        let before = at.checked_sub(1).and_then(|at| words.get(at)).copied().unwrap_or_default();
        let taken = absolute(&word, before).or_else(|| relative(&word, before, today));
        let from = at;
        at += taken.map_or(1, |(_, words)| words);
        found.extend(taken.map(|(named, _)| (named, from..at)));
    }
    found
}

fn absolute<'a>(word: &impl Fn(usize) -> &'a str, before: &str) -> Option<(Named, usize)> {
    if let (Some(year), Ok(month), Some(day)) = (year_of(word(0)), word(1).parse::<i8>(), of_month(word(2)))
        && (1..=12).contains(&month)
    {
        return Some((Named::Day(Some(year), month, day), 3));
    }
    if let Some(day) = of_month(word(0)) {
        let of = usize::from(word(1) == "of");
        let month = month_of(word(1 + of))?;
        let year = year_of(word(2 + of));
        return Some((Named::Day(year, month, day), 2 + of + usize::from(year.is_some())));
    }
    if let Some(month) = month_of(word(0)) {
        if let Some(day) = of_month(word(1)) {
            let year = year_of(word(2));
            return Some((Named::Day(year, month, day), 2 + usize::from(year.is_some())));
        }
        let year = year_of(word(1));
        let leads =
            matches!(before, "in" | "of" | "during" | "since" | "last" | "this" | "by" | "early" | "late" | "until");
        let ambiguous = matches!(word(0), "may" | "march") && year.is_none() && !leads;
        return (!ambiguous).then_some((Named::Month(year, month), 1 + usize::from(year.is_some())));
    }
    year_of(word(0)).map(|year| (Named::Year(year), 1))
}

fn relative<'a>(word: &impl Fn(usize) -> &'a str, before: &str, today: Date) -> Option<(Named, usize)> {
    let back = |span: Span| today.saturating_sub(span);
    let days = |from: Date, to: Date, words| Some((Named::Days(from, to), words));
    let week_start = |day: Date| day.saturating_sub(i64::from(day.weekday().to_monday_zero_offset()).days());
    match (word(0), word(1)) {
        ("today" | "tonight", _) | ("this", "morning" | "afternoon" | "evening") => days(today, today, 1),
        ("yesterday", _) | ("last", "night") => days(back(1.day()), back(1.day()), 1),
        ("last" | "past", "week") => days(week_start(back(1.week())), week_start(today), 2),
        ("this", "week") => days(week_start(today), today, 2),
        ("last", "weekend") => {
            let monday = week_start(today);
            days(monday.saturating_sub(2.days()), monday.saturating_sub(1.day()), 2)
        }
        ("last", "month") => {
            let first = back(1.month()).first_of_month();
            days(first, first.last_of_month(), 2)
        }
        ("this", "month") => days(today.first_of_month(), today, 2),
        ("last", "year") => Some((Named::Year(today.year() - 1), 2)),
        ("this", "year") => Some((Named::Year(today.year()), 2)),
        (count, "day" | "days") if word(2) == "ago" => {
            let day = back(number(count)?.days());
            days(day, day, 3)
        }
        (count, "week" | "weeks") if word(2) == "ago" => {
            let day = back(number(count)?.weeks());
            days(day.saturating_sub(3.days()), later(day, 3), 3)
        }
        (count, "month" | "months") if word(2) == "ago" => {
            let day = back(number(count)?.months());
            days(day.saturating_sub(15.days()), later(day, 15), 3)
        }
        (count, "year" | "years") if word(2) == "ago" => {
            let year = today.year().checked_sub(i16::try_from(number(count)?).ok()?)?;
            Some((Named::Year(year), 3))
        }
        (name, _) if matches!(before, "on" | "last" | "this" | "since" | "past") => {
            let weekday = weekday_of(name)?;
            let ago = today.weekday().since(weekday);
            let day = back(i64::from(if ago == 0 && before == "last" { 7 } else { ago }).days());
            days(day, day, 1)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use jiff::tz::TimeZone;

    use super::{Named, named};

    fn of(text: &str) -> Vec<Named> {
        let words: Vec<_> = text.split(' ').collect();
        let wednesday = date(2024, 5, 15);
        named(&words, wednesday).into_iter().map(|(named, _)| named).collect()
    }

    #[test]
    fn times_are_understood() {
        assert_eq!(of("on 1 february 2023"), [Named::Day(Some(2023), 2, 1)]);
        assert_eq!(of("on may 23 2023 or the 3rd of june"), [Named::Day(Some(2023), 5, 23), Named::Day(None, 6, 3)]);
        assert_eq!(of("2023 05 07"), [Named::Day(Some(2023), 5, 7)]);
        assert_eq!(of("in june and in may"), [Named::Month(None, 6), Named::Month(None, 5)]);
        assert_eq!(of("may i march"), []);
        assert_eq!(of("in 2021"), [Named::Year(2021)]);
        assert_eq!(of("yesterday"), [Named::Days(date(2024, 5, 14), date(2024, 5, 14))]);
        assert_eq!(of("last week"), [Named::Days(date(2024, 5, 6), date(2024, 5, 13))]);
        assert_eq!(of("two weeks ago"), [Named::Days(date(2024, 4, 28), date(2024, 5, 4))]);
        assert_eq!(
            of("last monday on wednesday"),
            [Named::Days(date(2024, 5, 13), date(2024, 5, 13)), Named::Days(date(2024, 5, 15), date(2024, 5, 15)),]
        );
        assert_eq!(of("999 years ago 1000 months ago 31 february").len(), 3);
    }

    #[test]
    fn a_day_fits_by_its_distance() {
        let june = Named::Month(None, 6);
        assert_eq!(
            [june.fits(date(2023, 6, 27)), june.fits(date(2023, 7, 5)), june.fits(date(2023, 5, 31))],
            [1.0, 0.5, 0.0]
        );
        let december = Named::Month(None, 12);
        assert_eq!([december.fits(date(2024, 1, 3)), december.fits(date(2024, 2, 3))], [0.5, 0.0]);
        let day = Named::Day(None, 12, 31);
        assert_eq!(
            [day.fits(date(2023, 12, 31)), day.fits(date(2024, 1, 2)), day.fits(date(2024, 1, 5))],
            [1.0, 0.8, 0.5]
        );
        assert_eq!(Named::Day(None, 2, 31).fits(date(2024, 2, 29)), 0.0);
    }

    #[test]
    fn dates_without_a_year_are_looked_up_in_every_year() {
        let (from, to) = (1_600_000_000_000_000, 1_700_000_000_000_000); // 2020 to 2023
        assert_eq!(Named::Month(None, 6).spans(&TimeZone::UTC, from, to).len(), 4);
        assert_eq!(Named::Day(Some(2023), 2, 30).spans(&TimeZone::UTC, from, to), []);
        assert_eq!(Named::Year(2021).spans(&TimeZone::UTC, from, to), [(1_609_459_200_000_000, 1_640_995_200_000_000)]);
    }
}
