//! The text of a PDF file.
//!
//! `lopdf` knows the file format and the fonts; where words and lines end follows here from the positions of the text.
//! Files may be hostile: everything compressed has a bound on what it may unfold to, the structure as a whole and each page, and
//! there is a deadline. Deliberately absent: columns, tables, and text in pictures.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lopdf::content::{Content, Operation};
use lopdf::{Dictionary, Document, Encoding, LoadOptions, Object};

use super::{MAX_TEXT, Whole};
use crate::error::WebError;

/// What all object and cross-reference streams may unfold to, and one of them at least.
const STRUCTURE: usize = 12_000_000;
const MIN_STREAM: usize = 32_000;
/// What the content of one page, and one font's table, may unfold to.
const PAGE: usize = 2_000_000;
const FONT: usize = 400_000;
const MAX_PAGES: usize = 2_000;
const LIMIT: Duration = Duration::from_secs(15);

/// A gap of this part of the font's size is a space.
const SPACE: f32 = 0.2;

/// The text of all pages.
pub(super) fn read(bytes: &[u8]) -> Result<Whole, WebError> {
    let deadline = Instant::now() + LIMIT;
    let unreadable =
        || WebError::Unsupported("The PDF file is broken, or built in a way that is not read here.".into());
    let options = LoadOptions {
        max_decompressed_size: Some(stream_limit(bytes).ok_or_else(unreadable)?),
        ..LoadOptions::default()
    };
    let document = Document::load_mem_with_options(bytes, options).map_err(|_| unreadable())?;
    if document.is_encrypted() {
        return Err(WebError::Unsupported("The PDF file is encrypted.".into()));
    }
    let pages: Vec<_> = document.page_iter().take(MAX_PAGES).collect();
    let (mut text, mut notes, mut silent) = (String::new(), Vec::new(), 0);
    for (index, page) in pages.iter().enumerate() {
        if Instant::now() > deadline || text.len() > MAX_TEXT {
            notes.push(format!("Only the first {index} of {} pages were read.", pages.len()));
            break;
        }
        let before = text.len();
        if let Ok(content) = document.get_page_content_with_limit(*page, PAGE)
            && let Ok(content) = Content::decode(&content)
            && let Ok(fonts) = document.get_page_fonts(*page)
        {
            Writer { document: &document, fonts: &fonts, known: BTreeMap::new(), text: &mut text, deadline }
                .write(&content.operations);
        }
        silent += usize::from(text.len() == before);
        text.push_str("\n\n");
    }
    if text.trim().is_empty() {
        return Err(WebError::Unsupported("The PDF file holds no text; its pages may be pictures.".into()));
    }
    if silent > 0 {
        notes.push(format!("{silent} pages have no text that can be read."));
    }
    Ok(Whole { title: title(&document), text, notes, ..Whole::default() })
}

/// What one stream of the structure may unfold to, so that all together stay within [`STRUCTURE`]. Such a stream has
/// `/First` (objects) or `/XRef` in its dictionary, in which letters may be written as `#46`.
fn stream_limit(bytes: &[u8]) -> Option<usize> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, more)) = rest.split_first() {
        let code = more.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        match code.filter(|_| *first == b'#') {
            Some(letter) => {
                plain.push(letter);
                rest = &more[2..];
            }
            None => {
                plain.push(*first);
                rest = more;
            }
        }
    }
    let count = plain.windows(6).filter(|window| *window == b"/First").count()
        + plain.windows(5).filter(|window| *window == b"/XRef").count();
    Some(STRUCTURE / count.max(1)).map(|limit| limit.min(PAGE)).filter(|limit| *limit >= MIN_STREAM)
}

fn title(document: &Document) -> Option<String> {
    let info = document.trailer.get(b"Info").ok()?;
    let info = match info {
        Object::Reference(id) => document.get_dictionary(*id).ok()?,
        other => other.as_dict().ok()?,
    };
    lopdf::decode_text_string(info.get(b"Title").ok()?).ok()
}

/// Turns the operations of a page into lines.
struct Writer<'a, 'b> {
    document: &'a Document,
    fonts: &'b BTreeMap<Vec<u8>, &'a Dictionary>,
    known: BTreeMap<Vec<u8>, Option<Encoding<'a>>>,
    text: &'b mut String,
    deadline: Instant,
}

/// Where text is put, as far as lines and gaps need it.
#[derive(Clone, Copy)]
struct Place {
    line: (f32, f32),
    leading: f32,
    size: f32,
    scale: f32,
}

impl<'a> Writer<'a, '_> {
    fn write(&mut self, operations: &[Operation]) {
        let mut place = Place { line: (0.0, 0.0), leading: 0.0, size: 1.0, scale: 1.0 };
        let mut font: Option<Vec<u8>> = None;
        for operation in operations {
            let operands = operation.operands.as_slice();
            let number = |index: usize| operands.get(index).and_then(|operand| operand.as_float().ok()).unwrap_or(0.0);
            match operation.operator.as_str() {
                "BT" => place.line = (0.0, 0.0),
                "Tf" => {
                    font = operands.first().and_then(|name| name.as_name().ok()).map(<[u8]>::to_vec);
                    place.size = number(1).abs().max(0.1);
                    if !self.learn(font.as_deref()) {
                        return;
                    }
                }
                "TL" => place.leading = number(0),
                "Td" | "TD" => {
                    if operation.operator == "TD" {
                        place.leading = -number(1);
                    }
                    self.shift(&mut place, number(0), number(1));
                }
                "T*" => self.next_line(&mut place),
                "Tm" => {
                    place.scale = number(3).abs().max(number(1).abs()).max(0.01);
                    self.place(&mut place, (number(4), number(5)));
                }
                "Tj" => self.show(font.as_deref(), operands.first()),
                "TJ" => {
                    for part in operands.first().and_then(|array| array.as_array().ok()).into_iter().flatten() {
                        match part.as_float() {
                            Ok(gap) if gap < -1_000.0 * SPACE => self.space(),
                            Ok(_) => {}
                            Err(_) => self.show(font.as_deref(), Some(part)),
                        }
                    }
                }
                "'" => {
                    self.next_line(&mut place);
                    self.show(font.as_deref(), operands.first());
                }
                "\"" => {
                    self.next_line(&mut place);
                    self.show(font.as_deref(), operands.get(2));
                }
                _ => {}
            }
        }
    }

    /// Reads a font once; `false` when time is up.
    fn learn(&mut self, name: Option<&[u8]>) -> bool {
        if let Some(name) = name
            && !self.known.contains_key(name)
        {
            let font = self.fonts.get(name);
            let encoding = font.and_then(|font| font.get_font_encoding_with_limit(self.document, FONT).ok());
            self.known.insert(name.to_vec(), encoding);
        }
        Instant::now() <= self.deadline
    }

    fn next_line(&mut self, place: &mut Place) {
        let down = -place.leading;
        self.shift(place, 0.0, down);
    }

    fn shift(&mut self, place: &mut Place, x: f32, y: f32) {
        self.place(place, (place.line.0 + x * place.scale, place.line.1 + y * place.scale));
    }

    /// A new line where the height changes, twice where it changes much; else a space, since a word may end here.
    fn place(&mut self, place: &mut Place, to: (f32, f32)) {
        let (height, drop) = (place.size * place.scale, (to.1 - place.line.1).abs());
        place.line = to;
        if drop > height * 2.0 {
            self.end_line();
            self.text.push('\n');
        } else if drop > height * 0.5 {
            self.end_line();
        } else {
            self.space();
        }
    }

    fn end_line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
            self.text.push(' ');
        }
    }

    fn show(&mut self, font: Option<&[u8]>, operand: Option<&Object>) {
        if let Some(Some(encoding)) = font.and_then(|font| self.known.get(font))
            && let Some(Object::String(bytes, _)) = operand
            && let Ok(shown) = Document::decode_text(encoding, bytes)
        {
            self.text.push_str(&shown);
        }
    }
}

#[cfg(test)]
mod tests {
    use lopdf::{Stream, dictionary};

    use super::*;

    /// A file with one page of this content.
    fn file(content: &[u8]) -> Vec<u8> {
        let mut document = Document::with_version("1.5");
        let font = document.add_object(dictionary! {"Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica"});
        let mut stream = Stream::new(dictionary! {}, content.to_vec());
        stream.compress().unwrap();
        let content = document.add_object(stream);
        let pages = document.new_object_id();
        let page = document.add_object(dictionary! {"Type" => "Page", "Parent" => pages, "Contents" => content,
        "Resources" => dictionary! {"Font" => dictionary! {"F1" => font}}});
        let tree = dictionary! {"Type" => "Pages", "Kids" => vec![page.into()], "Count" => 1};
        document.objects.insert(pages, tree.into());
        let catalog = document.add_object(dictionary! {"Type" => "Catalog", "Pages" => pages});
        document.trailer.set("Root", catalog);
        let mut bytes = Vec::new();
        document.save_to(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_page_that_unfolds_to_too_much_stays_folded() {
        let text = b"BT /F1 9 Tf (small) Tj ET ".to_vec();
        assert_eq!(read(&file(&text)).unwrap().text.trim(), "small");
        let bomb = text.repeat(1_000_000);
        let bytes = file(&bomb);
        assert!(bytes.len() < 200_000, "{}", bytes.len());
        assert!(matches!(read(&bytes), Err(WebError::Unsupported(_))));
    }

    #[test]
    fn the_more_streams_of_structure_the_less_each_may_hold() {
        assert_eq!(stream_limit(b"<</First 10>>"), Some(PAGE));
        assert_eq!(stream_limit(&b"<</First 10>>".repeat(100)), Some(STRUCTURE / 100));
        assert_eq!(stream_limit(&b"<</#46i#72st 10>>".repeat(100)), Some(STRUCTURE / 100));
        assert_eq!(stream_limit(&b"<</Type/XRef>>".repeat(1_000)), None);
    }
}
