//! Small value types of the configuration: durations, sizes, lists and secrets, each readable from a file, from an
//! environment variable (always text) and by a person. Deliberately absent: units beyond those a setting needs.

use std::fmt;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A duration: `"15s"`, `"500ms"`, `"2m"`, `"1h"`, or a number of seconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// So many seconds.
    #[must_use]
    pub const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// The duration itself.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        const UNITS: [(&str, f64); 5] = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];
        let text = text.trim();
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor)))
            .unwrap_or((text, 1.0));
        let seconds = number.parse::<f64>().ok()? * factor;
        Duration::try_from_secs_f64(seconds).ok().map(Self)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 && self.0.subsec_nanos() == 0 {
            write!(f, "{}s", self.0.as_secs())
        } else {
            write!(f, "{}ms", self.0.as_secs_f64() * 1000.0)
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(ScalarText("a duration such as \"15s\" or a number of seconds"))?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("'{text}' is not a duration such as \"15s\"")))
    }
}

/// A size in bytes: `"25MiB"`, `"64KiB"`, or a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

impl Size {
    /// So many bytes.
    #[must_use]
    pub const fn bytes(bytes: usize) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        const UNITS: [(&str, usize); 7] = [
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
            ("kB", 1_000),
            ("MB", 1_000_000),
            ("GB", 1_000_000_000),
            ("B", 1),
        ];
        let text = text.trim();
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor)))
            .unwrap_or((text, 1));
        number.parse::<usize>().ok()?.checked_mul(factor).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = deserializer.deserialize_any(ScalarText("a size such as \"25MiB\" or a number of bytes"))?;
        Self::parse(&text).ok_or_else(|| de::Error::custom(format!("'{text}' is not a size such as \"25MiB\"")))
    }
}

/// Reads any scalar as text, so that `15`, `15.5` and `"15s"` all reach one parser.
struct ScalarText(&'static str);

impl Visitor<'_> for ScalarText {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

/// A list of names: an array in a file, or text separated by commas.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Names(pub Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of texts, or one text separated by commas")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Names, E> {
                let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
                Ok(Names(names.map(str::to_owned).collect()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = items.next_element::<String>()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

/// How a secret is shown, whoever asks.
pub const HIDDEN: &str = "********";

/// Serialises an optional secret as [`HIDDEN`] or null; the text itself never leaves through here.
pub fn hidden<S: Serializer>(secret: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) if !secret.expose_secret().is_empty() => serializer.serialize_str(HIDDEN),
        _ => serializer.serialize_none(),
    }
}

/// Reads an optional secret. Any scalar will do, so that no complaint about its type ever quotes it.
pub fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    Ok(optional(deserializer)?.map(SecretString::from))
}

/// Reads an optional text; blank text counts as not set, because compose files pass unset variables as empty ones.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Reader;

    impl<'de> Visitor<'de> for Reader {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text")
        }

        fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
            deserializer.deserialize_any(ScalarText("a text")).map(Some)
        }
    }

    let text = deserializer.deserialize_option(Reader)?;
    Ok(text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// Reads an optional number. The text goes to one parser, because figment's own lenient reading rounds to 32 bits.
pub fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let Some(text) = optional(deserializer)? else { return Ok(None) };
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.map(Some).ok_or_else(|| de::Error::custom(format!("'{text}' is not a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for (text, expected) in
            [("15s", 15_000), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), (" 1.5 ", 1_500), ("0", 0)]
        {
            assert_eq!(Span::parse(text), Some(Span::millis(expected)), "{text}");
        }
        for bad in ["", "s", "-1s", "soon", "1w", "1e99d", "nan"] {
            assert_eq!(Span::parse(bad), None, "{bad}");
        }
        for span in [Span::secs(90), Span::millis(1), Span::secs(0), Span::millis(2_500)] {
            assert_eq!(Span::parse(&span.to_string()), Some(span));
        }
    }

    #[test]
    fn sizes_are_read_and_written_alike() {
        assert_eq!(Size::parse("25MiB"), Some(Size::bytes(25 << 20)));
        assert_eq!(Size::parse("10 kB"), Some(Size::bytes(10_000)));
        assert_eq!(Size::parse("7"), Some(Size::bytes(7)));
        for bad in ["", "-1", "1.5MiB", "99999999999999GiB", "lots"] {
            assert_eq!(Size::parse(bad), None, "{bad}");
        }
        for size in [Size::bytes(25 << 20), Size::bytes(1), Size::bytes(1 << 30), Size::bytes(0)] {
            assert_eq!(Size::parse(&size.to_string()), Some(size));
        }
    }

    #[test]
    fn lists_come_as_arrays_or_with_commas() {
        let names = |json: &str| serde_json::from_str::<Names>(json).map(|names| names.0).unwrap_or_default();
        assert_eq!(names(r#"["a", "b"]"#), ["a", "b"]);
        assert_eq!(names(r#"" a, b ,,""#), ["a", "b"]);
        assert!(names(r#""""#).is_empty());
    }
}
