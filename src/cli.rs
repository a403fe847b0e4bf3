//! The command line: what it understands and which command does it. Flags of `serve` become the strongest layer of the
//! configuration; keys are never taken from the command line, where other users of the machine could read them.

mod chat;
mod client;
mod config_show;
mod doctor;
mod export;
mod history;
mod import;
mod job;
mod memory;
mod migrate;
mod model;
mod profile;
mod prompt;
mod render;
mod serve;
mod status;
mod table;
mod terminal;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Surroundings;

/// Greenroom: a self-hosted chat backend, bots with memory behind the OpenAI protocol.
#[derive(Debug, Parser)]
#[command(name = "greenroom", version, about, max_term_width = 100)]
pub struct Cli {
    /// Configuration file; wins over the defaults and loses to the environment.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server.
    Serve(Serve),
    /// Talk to a bot of a running server.
    Chat(Chat),
    /// Show the live tree of a running server.
    Status(Status),
    /// Look into what a bot has learnt, and mend it.
    Memory(memory::Memory),
    /// Look into what was said, and tidy it.
    History(history::History),
    /// Look into what is known about users and bots, and correct it.
    Profile(profile::Profile),
    /// Look into the prompt templates, and edit them.
    Prompt(prompt::Prompt),
    /// Look at the models, define others, choose and try them.
    Model(model::Model),
    /// Look at the work in the background, and start it.
    Job(job::Job),
    /// Bring in messages and memories from a file.
    Import(Import),
    /// Write out messages and memories as lines that `import` reads.
    Export(Export),
    /// Print every setting with its value and where it comes from.
    Config(ConfigShow),
    /// Bring the database up to date.
    Migrate(Migrate),
    /// Find what is missing, and say how to mend it.
    Doctor(Doctor),
}

/// `greenroom serve`.
#[derive(Debug, Args, Default)]
pub struct Serve {
    /// Address to bind.
    #[arg(long)]
    pub host: Option<String>,
    /// Port to bind; 0 picks a free one.
    #[arg(long)]
    pub port: Option<u16>,
    /// Folder for everything the server keeps.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Log every request and more of what the rooms do.
    #[arg(long)]
    pub verbose: bool,
    /// Log everything, libraries included.
    #[arg(long)]
    pub debug: bool,
    /// Stop the server that uses the data directory, if there is one, then start.
    #[arg(long, conflicts_with = "stop")]
    pub restart: bool,
    /// Stop the server that uses the data directory and leave.
    #[arg(long)]
    pub stop: bool,
}

impl Serve {
    fn flags(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut flags = Vec::new();
        if let Some(host) = &self.host {
            flags.push(("server.host", host.clone(), "--host"));
        }
        if let Some(port) = self.port {
            flags.push(("server.port", port.to_string(), "--port"));
        }
        if let Some(dir) = &self.data_dir {
            flags.push(("server.data_dir", dir.display().to_string(), "--data-dir"));
        }
        if self.verbose {
            flags.push(("log.verbose", "true".into(), "--verbose"));
        }
        if self.debug {
            flags.push(("log.debug", "true".into(), "--debug"));
        }
        flags
    }
}

/// Where a client finds its server. The key comes from `GREENROOM_API_KEY` alone.
#[derive(Debug, Args)]
pub struct Place {
    /// The server's address.
    #[arg(long, global = true, env = "GREENROOM_URL", default_value = "http://127.0.0.1:8642")]
    pub url: String,
}

/// `greenroom chat`.
#[derive(Debug, Args)]
pub struct Chat {
    /// One question; without it, a conversation. What is piped in counts as the question.
    pub question: Vec<String>,
    /// Where the server is.
    #[command(flatten)]
    pub place: Place,
    /// The bot to talk to; the server's default without it.
    #[arg(long, short)]
    pub bot: Option<String>,
    /// Who is talking; the server's default without it.
    #[arg(long, short)]
    pub user: Option<String>,
    /// The model to use; the bot's without it.
    #[arg(long, short)]
    pub model: Option<String>,
    /// The answer alone: no colours, no tool and status lines.
    #[arg(long)]
    pub plain: bool,
}

/// `greenroom status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Where the server is.
    #[command(flatten)]
    pub place: Place,
    /// As JSON.
    #[arg(long)]
    pub json: bool,
    /// Again every second, until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
}

/// `greenroom import`.
#[derive(Debug, Args)]
pub struct Import {
    /// Lines of JSON, or the `conversations.json` of a ChatGPT export; `-` reads standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where the server is.
    #[command(flatten)]
    pub place: Place,
    /// The bot that gets everything, whatever the records say.
    #[arg(long, short)]
    pub bot: Option<String>,
    /// The user whom everything belongs to, whatever the records say.
    #[arg(long, short)]
    pub user: Option<String>,
    /// Only read the file and say what would be sent.
    #[arg(long)]
    pub dry_run: bool,
    /// Let a model extract facts from the messages afterwards.
    #[arg(long)]
    pub extract: bool,
    /// Begin anew, even if an earlier import of the file stopped half-way.
    #[arg(long)]
    pub from_start: bool,
    /// The summary as JSON.
    #[arg(long)]
    pub json: bool,
}

/// `greenroom export`.
#[derive(Debug, Args)]
pub struct Export {
    /// Where the server is.
    #[command(flatten)]
    pub place: Place,
    /// Only this bot; all of them without it.
    #[arg(long, short)]
    pub bot: Option<String>,
    /// Only this kind.
    #[arg(long)]
    pub kind: Option<ExportKind>,
    /// The file to write; standard output without it.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What to export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExportKind {
    /// What was said.
    Message,
    /// What was learnt.
    Memory,
}

impl ExportKind {
    /// As the server names it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Memory => "memory",
        }
    }
}

/// `greenroom config`.
#[derive(Debug, Args)]
pub struct ConfigShow {
    /// As JSON.
    #[arg(long)]
    pub json: bool,
}

/// `greenroom migrate`.
#[derive(Debug, Args)]
pub struct Migrate {
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Folder for everything the server keeps.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// `greenroom doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// Folder for everything the server keeps.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Runs a command to its end.
///
/// # Errors
/// What made it fail, for a person to read.
pub async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut around = Surroundings::of_process();
    around.file = cli.config;
    match cli.command {
        Command::Serve(serve) => serve::run(serve, around).await,
        Command::Chat(chat) => chat::run(chat, &around).await,
        Command::Status(status) => status::run(status, &around).await,
        Command::Memory(memory) => memory::run(memory, &around).await,
        Command::History(history) => history::run(history, &around).await,
        Command::Profile(profile) => profile::run(profile, &around).await,
        Command::Prompt(prompt) => prompt::run(prompt, &around).await,
        Command::Model(model) => model::run(model, &around).await,
        Command::Job(job) => job::run(job, &around).await,
        Command::Import(import) => import::run(import, &around).await,
        Command::Export(export) => export::run(export, &around).await,
        Command::Config(show) => config_show::run(&show, &around),
        Command::Migrate(migrate) => migrate::run(migrate, around).await,
        Command::Doctor(doctor) => doctor::run(doctor, around).await,
    }
}

fn data_dir_flag(dir: Option<&PathBuf>) -> Vec<(&'static str, String, &'static str)> {
    dir.map(|dir| ("server.data_dir", dir.display().to_string(), "--data-dir")).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_serve_are_configuration_keys() {
        let Command::Serve(serve) =
            parsed("greenroom serve --host ::1 --port 0 --data-dir /x --verbose --debug").command
        else {
            unreachable!()
        };
        let mut around = Surroundings { flags: serve.flags(), ..Surroundings::default() };
        around.working_dir = "/nonexistent".into();
        let config = crate::config::load(&around).unwrap().config;
        assert_eq!((config.server.host.as_str(), config.server.port), ("::1", 0));
        assert_eq!(config.data_dir(), PathBuf::from("/x"));
        assert!(config.log.verbose && config.log.debug);
    }

    #[test]
    fn odd_lines_are_refused() {
        for line in ["greenroom", "greenroom serve --stop --restart", "greenroom serve --port 99999", "greenroom nap"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn a_question_may_have_many_words() {
        let Command::Chat(chat) = parsed("greenroom --config c.toml chat -b mira how are you").command else {
            unreachable!()
        };
        assert_eq!((chat.question.join(" ").as_str(), chat.bot.as_deref()), ("how are you", Some("mira")));
    }
}
