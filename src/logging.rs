//! Log lines go to standard error, never to standard output, which belongs to answers. What is logged is the rooms'
//! business; this file only decides how much and in which shape.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::{LogFormat, LogSection};

/// Starts logging. A second call in the same process changes nothing.
pub fn init(section: &LogSection) {
    let filter = EnvFilter::try_new(directives(section)).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // An error only says that logging was started before.
    let _ = match section.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
}

fn directives(section: &LogSection) -> &str {
    match &section.filter {
        Some(filter) => filter,
        // The client of MCP servers logs messages whole, secrets of the house included.
        None if section.debug => "debug,greenroom=trace,rmcp=off",
        // The filter takes prefixes, so this names all rooms.
        None if section.verbose => "info,greenroom=debug,rmcp=off",
        None => "info,rmcp=off",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_filter_wins() {
        let mut section = LogSection::default();
        assert_eq!(directives(&section), "info,rmcp=off");
        section.verbose = true;
        assert_eq!(directives(&section), "info,greenroom=debug,rmcp=off");
        section.filter = Some("warn".into());
        assert_eq!(directives(&section), "warn");
    }
}
