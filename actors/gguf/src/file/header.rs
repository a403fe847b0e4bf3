//! The header of a GGUF file, versions 2 and 3: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::HashMap;

use super::reader::Reader;
use super::{Array, Tensor, Value};
use crate::error::GgufError;
use crate::quant::Quant;

const MAGIC: &[u8; 4] = b"GGUF";
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;
/// Bytes of the smallest entry of either table; what a count is checked against.
const LEAST_ENTRY: u64 = 12;
/// Most numbers in a tensor; what lies beyond is no tensor but an attempt to overflow something.
const MAX_NUMBERS: u64 = 1 << 40;

/// Metadata and the table of tensors.
pub(crate) struct Header {
    metadata: HashMap<String, Value>,
    tensors: HashMap<String, Tensor>,
}

impl Header {
    pub(super) fn read(file: &[u8]) -> Result<Self, GgufError> {
        if file.get(..4) != Some(MAGIC) {
            return Err(GgufError::NotGguf);
        }
        let mut reader = Reader::new(file, 4);
        let version = reader.u32()?;
        if !(2..=3).contains(&version) {
            return Err(GgufError::Unsupported(format!("version {version} of GGUF")));
        }
        let (tensors, values) = (reader.u64()?, reader.u64()?);
        if tensors.max(values) > reader.left() / LEAST_ENTRY {
            return Err(GgufError::Malformed(format!("{tensors} tensors and {values} values in {} bytes", file.len())));
        }
        let mut metadata = HashMap::new();
        for _ in 0..values {
            let key = reader.string()?;
            let kind = reader.u32()?;
            metadata.insert(key, Value::read(&mut reader, kind)?);
        }
        let alignment = metadata.get("general.alignment").map_or(Some(32), Value::as_u64).unwrap_or(0);
        if alignment == 0 || alignment > 1 << 20 || alignment % 8 != 0 {
            return Err(GgufError::Malformed(format!("an alignment of {alignment} bytes")));
        }
        let mut table = Vec::new();
        for _ in 0..tensors {
            table.push(entry(&mut reader)?);
        }
        let begin = (reader.at() as u64).next_multiple_of(alignment);
        let tensors = table.into_iter().map(|entry| place(entry, begin, alignment, file.len() as u64));
        Ok(Self { metadata, tensors: tensors.collect::<Result<_, _>>()? })
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    pub(crate) fn float(&self, key: &str) -> Option<f32> {
        self.get(key)?.as_f32()
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn array(&self, key: &str) -> Option<Array> {
        match self.get(key)? {
            Value::Array(array) => Some(*array),
            _ => None,
        }
    }

    pub(crate) fn tensor(&self, name: &str) -> Option<Tensor> {
        self.tensors.get(name).copied()
    }

    /// All tensors, in no particular order.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.tensors.values()
    }
}

struct Entry {
    name: String,
    columns: u64,
    rows: u64,
    quant: Quant,
    offset: u64,
}

fn entry(reader: &mut Reader<'_>) -> Result<Entry, GgufError> {
    let name = reader.string()?;
    let dimensions = reader.u32()?;
    if !(1..=MAX_DIMENSIONS).contains(&dimensions) {
        return Err(GgufError::Malformed(format!("a tensor with {dimensions} dimensions")));
    }
    let columns = reader.u64()?;
    let mut rows = 1u64;
    for _ in 1..dimensions {
        rows = rows.saturating_mul(reader.u64()?);
    }
    if columns == 0 || rows == 0 || columns.saturating_mul(rows) > MAX_NUMBERS {
        return Err(GgufError::Malformed(format!("a tensor of {columns} × {rows} numbers")));
    }
    let quant = Quant::from_id(reader.u32()?);
    Ok(Entry { name, columns, rows, quant, offset: reader.u64()? })
}

fn place(entry: Entry, begin: u64, alignment: u64, file: u64) -> Result<(String, Tensor), GgufError> {
    let Entry { name, columns, rows, quant, offset } = entry;
    if offset % alignment != 0 {
        return Err(GgufError::Malformed("a tensor that is not aligned".into()));
    }
    let too_long = || GgufError::Malformed("a tensor beyond every file".into());
    let (columns, rows) = (usize::try_from(columns).ok(), usize::try_from(rows).ok());
    let (columns, rows) = columns.zip(rows).ok_or_else(too_long)?;
    if columns % quant.block() != 0 {
        return Err(GgufError::Malformed(format!("rows of {columns} numbers in the format {quant}")));
    }
    let bytes = (quant.bytes(columns) as u64).checked_mul(rows as u64).ok_or_else(too_long)?;
    let offset = begin.checked_add(offset).ok_or_else(too_long)?;
    let expected = offset.checked_add(bytes).ok_or_else(too_long)?;
    if expected > file {
        return Err(GgufError::Truncated { expected, found: file });
    }
    Ok((name, Tensor { quant, columns, rows, offset: usize::try_from(offset).map_err(|_| too_long())? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file with one value and one tensor of four floats.
    fn sample() -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend(3u32.to_le_bytes());
        file.extend([1u64, 2].map(u64::to_le_bytes).concat());
        let string = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
        file.extend(string("general.name"));
        file.extend([&8u32.to_le_bytes()[..], &string("tiny")].concat());
        file.extend(string("list"));
        file.extend([&9u32.to_le_bytes()[..], &8u32.to_le_bytes(), &2u64.to_le_bytes()].concat());
        file.extend([string("a"), string("b")].concat());
        file.extend(string("w"));
        file.extend([&1u32.to_le_bytes()[..], &4u64.to_le_bytes(), &0u32.to_le_bytes(), &0u64.to_le_bytes()].concat());
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend([1.0f32, 2.0, 3.0, 4.0].map(f32::to_le_bytes).concat());
        file
    }

    #[test]
    fn a_header_is_read() {
        let file = sample();
        let header = Header::read(&file).expect("a header");
        assert_eq!(header.text("general.name"), Some("tiny"));
        let list: Vec<_> = header.array("list").expect("a list").strings(&file).collect();
        assert_eq!(list, ["a", "b"]);
        let tensor = header.tensor("w").expect("a tensor");
        assert_eq!((tensor.columns, tensor.rows, tensor.offset), (4, 1, file.len() - 16));
    }

    #[test]
    fn every_truncation_is_noticed() {
        let file = sample();
        for length in 0..file.len() {
            let error = Header::read(&file[..length]).err().expect("an error");
            let typed = matches!(error, GgufError::NotGguf | GgufError::Truncated { .. } | GgufError::Malformed(_));
            assert!(typed, "{length}: {error:?}");
        }
    }

    #[test]
    fn hostile_counts_allocate_nothing() {
        for at in [8, 16] {
            let mut file = sample();
            file[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert!(matches!(Header::read(&file), Err(GgufError::Malformed(_))));
        }
    }

    proptest! {
        #[test]
        fn bent_bytes_never_panic(at in 0usize..200, byte: u8, other in 0usize..200, second: u8) {
            let mut file = sample();
            let length = file.len();
            file[at % length] = byte;
            file[other % length] = second;
            if let Ok(header) = Header::read(&file) {
                for tensor in header.tensors() {
                    prop_assert!(tensor.offset + tensor.rows * tensor.row_bytes() <= length);
                }
            }
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Header::read(&[MAGIC.as_slice(), &bytes].concat());
        }
    }
}
