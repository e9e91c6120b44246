//! Structs as plain values, with an encoder and a decoder of their own: slow, and nothing like the
//! ones under test.

// The targets in `fuzz/` take this file by its path, which changes where modules are looked for.
#[path = "model/decode.rs"]
mod decode;
#[path = "model/encode.rs"]
mod encode;

pub(crate) use decode::{decode, elements};
pub(crate) use encode::{encode, var_uint};

pub(crate) type Id = (u64, u32);

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Struct {
    pub(crate) clock: u32,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Gc(u32),
    Skip(u32),
    Item(Item),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item {
    pub(crate) origin: Option<Id>,
    pub(crate) right: Option<Id>,
    pub(crate) parent: Option<Parent>,
    pub(crate) sub: Option<String>,
    pub(crate) content: Content,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Parent {
    Root(String),
    Item(Id),
}

/// Values are bytes in lib0's `any` encoding.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    Deleted(u32),
    Json(Vec<String>),
    Binary(Vec<u8>),
    /// UTF-16 units, which may be halves of pairs.
    Text(Vec<u16>),
    Embed(Vec<u8>),
    Format(String, Vec<u8>),
    Type(u64, Option<String>),
    Any(Vec<Vec<u8>>),
    Document(String, Vec<u8>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) blocks: Vec<(u64, Vec<Struct>)>,
    pub(crate) deletes: Vec<(u64, Vec<(u32, u32)>)>,
}

/// An item at the end of a root, for cases that are about something else.
pub(crate) fn root_item(content: Content) -> Item {
    Item {
        origin: None,
        right: None,
        parent: Some(Parent::Root("r".to_owned())),
        sub: None,
        content,
    }
}

pub(crate) fn after(origin: Id, content: Content) -> Item {
    Item {
        origin: Some(origin),
        right: None,
        parent: None,
        sub: None,
        content,
    }
}

pub(crate) fn text(text: &str) -> Content {
    Content::Text(text.encode_utf16().collect())
}

/// One block with consecutive bodies.
pub(crate) fn block(client: u64, first: u32, bodies: Vec<Body>) -> (u64, Vec<Struct>) {
    let mut clock = first;
    let structs = bodies
        .into_iter()
        .map(|body| {
            let next = Struct { clock, body };
            clock += next.len();
            next
        })
        .collect();
    (client, structs)
}

pub(crate) fn update(blocks: Vec<(u64, Vec<Struct>)>, deletes: &[(u64, &[(u32, u32)])]) -> Vec<u8> {
    encode(&Model {
        blocks,
        deletes: deletes
            .iter()
            .map(|(client, ranges)| (*client, ranges.to_vec()))
            .collect(),
    })
}

impl Struct {
    pub(crate) fn len(&self) -> u32 {
        match &self.body {
            Body::Gc(len) | Body::Skip(len) => *len,
            Body::Item(item) => item.content.len(),
        }
    }

    /// The elements `from..to` of this struct, as a struct of its own.
    pub(crate) fn part(&self, client: u64, from: u32, to: u32) -> Struct {
        let body = match &self.body {
            Body::Gc(_) => Body::Gc(to - from),
            Body::Skip(_) => Body::Skip(to - from),
            Body::Item(item) => {
                let mut item = item.clone();
                if from > 0 {
                    item.origin = Some((client, self.clock + from - 1));
                    item.parent = None;
                    item.sub = None;
                }
                let (start, end) = (from as usize, to as usize);
                item.content = match item.content {
                    Content::Deleted(_) => Content::Deleted(to - from),
                    Content::Json(texts) => Content::Json(texts[start..end].to_vec()),
                    Content::Text(units) => Content::Text(units[start..end].to_vec()),
                    Content::Any(values) => Content::Any(values[start..end].to_vec()),
                    other => other,
                };
                Body::Item(item)
            }
        };
        Struct {
            clock: self.clock + from,
            body,
        }
    }
}

impl Content {
    fn len(&self) -> u32 {
        let len = match self {
            Content::Deleted(len) => return *len,
            Content::Json(texts) => texts.len(),
            Content::Text(units) => units.len(),
            Content::Any(values) => values.len(),
            _ => 1,
        };
        u32::try_from(len).unwrap()
    }

    fn kind(&self) -> u8 {
        match self {
            Content::Deleted(_) => 1,
            Content::Json(_) => 2,
            Content::Binary(_) => 3,
            Content::Text(_) => 4,
            Content::Embed(_) => 5,
            Content::Format(..) => 6,
            Content::Type(..) => 7,
            Content::Any(_) => 8,
            Content::Document(..) => 9,
        }
    }
}
