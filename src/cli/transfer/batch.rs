//! Records packed for one request, with the way back from a line of the request to the piece of the file.

use super::meaning::Item;
use super::pieces::{Framing, Place};
use crate::transfer::{Identifier, Record, Totals};

/// Most records of a request: about half a second of work for the server.
const RECORDS: usize = 1000;
/// Most bytes of a request, unless one record is larger.
const BYTES: usize = 4 << 20;

/// One request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// A record per line.
    pub body: Vec<u8>,
    /// For each line, the number of its piece and where it ends in `body`.
    lines: Vec<(u64, usize)>,
    /// What it holds.
    pub totals: Totals,
    /// Where the file stands when this batch, and all before it, are stored; `None` in the middle of a piece.
    pub place: Option<Place>,
    /// What naming the records behind that place needs to know.
    pub identity: Identifier,
}

impl Batch {
    /// Records in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// The piece that a line of the request, counted from 1, came from.
    #[must_use]
    pub fn piece_of(&self, line: u64) -> Option<u64> {
        let at = usize::try_from(line).ok()?.checked_sub(1)?;
        self.lines.get(at).map(|(number, _)| *number)
    }

    /// Two halves, for a server that takes less at once; `None` when there is nothing to halve.
    #[must_use]
    pub fn halves(self) -> Option<(Self, Self)> {
        let middle = self.lines.len() / 2;
        let cut = self.lines.get(middle.checked_sub(1)?)?.1;
        let first = Self { body: self.body[..cut].to_vec(), lines: self.lines[..middle].to_vec(), ..Self::default() };
        let rest = self.lines[middle..].iter().map(|(number, end)| (*number, end - cut)).collect();
        let second = Self {
            body: self.body[cut..].to_vec(),
            lines: rest,
            totals: self.totals,
            place: self.place,
            identity: self.identity,
        };
        Some((first, second))
    }

    fn push(&mut self, number: u64, record: &Record) -> serde_json::Result<()> {
        serde_json::to_writer(&mut self.body, record)?;
        self.body.push(b'\n');
        self.lines.push((number, self.body.len()));
        self.totals.count(record);
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= RECORDS || self.body.len() >= BYTES
    }
}

/// Packs items; whatever is full goes out.
#[derive(Debug)]
pub struct Packer {
    framing: Framing,
    batch: Batch,
    /// Pieces have been read since the last batch went out.
    stale: bool,
}

impl Packer {
    /// An empty one.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        Self { framing, batch: Batch::default(), stale: false }
    }

    /// Takes an item in, with what was known behind it; gives the batches that are full.
    ///
    /// # Errors
    /// When a record cannot be written as JSON, which no record is known to do.
    pub fn take(&mut self, item: &Item, identity: &Identifier) -> serde_json::Result<Vec<Batch>> {
        let mut full = Vec::new();
        for record in &item.records {
            if self.batch.is_full() {
                full.push(std::mem::take(&mut self.batch));
            }
            self.batch.push(item.number, record)?;
            self.batch.place = None;
        }
        self.batch.place = Some(Place { framing: self.framing, number: item.number, offset: item.end });
        self.stale = true;
        if self.batch.is_full() {
            self.batch.identity = identity.clone();
            full.push(std::mem::take(&mut self.batch));
            self.stale = false;
        }
        Ok(full)
    }

    /// What is left at the end.
    #[must_use]
    pub fn rest(self, identity: &Identifier) -> Option<Batch> {
        self.stale.then(|| Batch { identity: identity.clone(), ..self.batch })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::transfer::{Line, Overrides};

    fn item(number: u64, records: usize) -> Item {
        let value = json!({"kind": "memory", "bot_id": "a", "content": "x"});
        let Ok(Line::Record(record)) = Line::read(&value, &Overrides::default()) else { panic!() };
        Item { number, end: number * 10, records: vec![*record; records], ..Item::default() }
    }

    #[test]
    fn a_place_is_told_only_where_a_piece_is_whole() {
        let mut packer = Packer::new(Framing::Lines);
        assert_eq!(packer.take(&item(1, 400), &Identifier::default()).unwrap().len(), 0);
        let full = packer.take(&item(2, 1700), &Identifier::default()).unwrap();
        assert_eq!(full.iter().map(Batch::len).collect::<Vec<_>>(), [1000, 1000]);
        assert_eq!((full[0].place, full[1].place), (None, None));
        assert_eq!((full[0].piece_of(400), full[0].piece_of(401), full[0].piece_of(1001)), (Some(1), Some(2), None));
        assert_eq!(full[0].piece_of(0), None);
        let rest = packer.rest(&Identifier::default()).unwrap();
        assert_eq!((rest.len(), rest.place.unwrap().number, rest.place.unwrap().offset), (100, 2, 20));
        assert!(Packer::new(Framing::Lines).rest(&Identifier::default()).is_none());
    }

    #[test]
    fn halves_hold_everything() {
        let mut packer = Packer::new(Framing::Lines);
        packer.take(&item(1, 2), &Identifier::default()).unwrap();
        packer.take(&item(2, 1), &Identifier::default()).unwrap();
        let whole = packer.rest(&Identifier::default()).unwrap();
        let (first, second) = whole.clone().halves().unwrap();
        assert_eq!([first.body.as_slice(), second.body.as_slice()].concat(), whole.body);
        assert_eq!((first.len(), second.piece_of(2), first.place, second.place), (1, Some(2), None, whole.place));
        assert!(first.halves().is_none());
    }
}
