//! Values of the metadata. Arrays stay in the file until somebody asks for their elements, because a vocabulary has
//! hundreds of thousands and most readers of a header do not want it.

use super::reader::Reader;
use crate::error::GgufError;

const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// An array that lies in the file; it was walked over once, so its length is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Array {
    kind: u32,
    pub(crate) length: usize,
    offset: usize,
}

impl Value {
    pub(super) fn read(reader: &mut Reader<'_>, kind: u32) -> Result<Self, GgufError> {
        Ok(match kind {
            0 => Self::Unsigned(u8::from_le_bytes(reader.array()?).into()),
            1 => Self::Signed(i8::from_le_bytes(reader.array()?).into()),
            2 => Self::Unsigned(u16::from_le_bytes(reader.array()?).into()),
            3 => Self::Signed(i16::from_le_bytes(reader.array()?).into()),
            4 => Self::Unsigned(reader.u32()?.into()),
            5 => Self::Signed(i32::from_le_bytes(reader.array()?).into()),
            6 => Self::Float(f32::from_le_bytes(reader.array()?).into()),
            7 => Self::Bool(reader.array::<1>()? != [0]),
            STRING => Self::String(reader.string()?),
            ARRAY => Self::Array(Array::read(reader)?),
            10 => Self::Unsigned(reader.u64()?),
            11 => Self::Signed(i64::from_le_bytes(reader.array()?)),
            12 => Self::Float(f64::from_le_bytes(reader.array()?)),
            other => return Err(GgufError::Malformed(format!("a value of the kind {other}"))),
        })
    }

    /// A whole number that is not negative.
    pub(crate) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            Self::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(crate) fn as_f32(&self) -> Option<f32> {
        match self {
            Self::Float(number) => Some(*number as f32),
            Self::Unsigned(number) => Some(*number as f32),
            Self::Signed(number) => Some(*number as f32),
            _ => None,
        }
    }
}

impl Array {
    fn read(reader: &mut Reader<'_>) -> Result<Self, GgufError> {
        let (kind, length) = (reader.u32()?, reader.u64()?);
        let offset = reader.at();
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            STRING => {
                // Each has at least its length, so a count beyond the bytes that are left fails early.
                if length > reader.left() / 8 {
                    return Err(GgufError::Malformed(format!("an array of {length} strings")));
                }
                for _ in 0..length {
                    reader.raw_string()?;
                }
                0
            }
            ARRAY => return Err(GgufError::Malformed("an array of arrays".into())),
            other => return Err(GgufError::Malformed(format!("an array of the kind {other}"))),
        };
        reader.take(length.checked_mul(width).ok_or_else(|| GgufError::Malformed("an array without end".into()))?)?;
        let length = usize::try_from(length).map_err(|_| GgufError::Malformed("an array without end".into()))?;
        Ok(Self { kind, length, offset })
    }

    /// The elements; `file` is the file that the array was read from.
    pub(crate) fn values(self, file: &[u8]) -> impl Iterator<Item = Value> {
        let mut reader = Reader::new(file, self.offset);
        (0..self.length).map_while(move |_| Value::read(&mut reader, self.kind).ok())
    }

    /// The elements that are strings, without copying those that are UTF-8.
    pub(crate) fn strings(self, file: &[u8]) -> impl Iterator<Item = std::borrow::Cow<'_, str>> {
        let mut reader = Reader::new(file, self.offset);
        let length = if self.kind == STRING { self.length } else { 0 };
        (0..length).map_while(move |_| reader.raw_string().ok().map(String::from_utf8_lossy))
    }
}
