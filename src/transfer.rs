//! Moving house: the records that `greenroom import`, `greenroom export` and the routes behind them agree on.
//!
//! One line of JSON is one record. What an export writes, an import reads back as the same thing. Deliberately absent:
//! files and HTTP (the command line and the door have those), and any decision about what is stored already.

mod identity;
mod record;

pub use identity::Identifier;
pub(crate) use record::no_json;
pub use record::{
    CONTENT_LIMIT, Line, MemoryRecord, MessageRecord, Overrides, RECORDS_PER_REQUEST, Record, RecordError, Totals,
    end_line, moment,
};
