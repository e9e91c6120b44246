//! One struct of an update as spans of the update's bytes, and how it is cut and compared.

use std::cmp::Ordering;

use crate::any;
use crate::column::UintReader;
use crate::lib0::Reader;
use crate::text::{Text, TextReader};
use crate::{ClientId, Clock};

/// The id of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) client: ClientId,
    pub(crate) clock: Clock,
}

/// A run of elements that one client created at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Struct<'a> {
    pub(crate) client: ClientId,
    pub(crate) clock: Clock,
    pub(crate) len: Clock,
    pub(crate) body: Body<'a>,
}

/// What a struct is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Body<'a> {
    /// Collected: only the clocks are left.
    Gc,
    /// A gap: nothing is said about these clocks.
    Skip,
    Item(Item<'a>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) origin: Option<Id>,
    pub(crate) right_origin: Option<Id>,
    /// Present exactly when both origins are absent.
    pub(crate) parent: Option<Parent<'a>>,
    pub(crate) parent_sub: Option<Text<'a>>,
    pub(crate) content: Content<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Parent<'a> {
    Root(Text<'a>),
    Item(Id),
}

/// What an item holds; values stay in their encoded form.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    Deleted,
    Json(JsonTexts<'a>),
    Binary(&'a [u8]),
    String(Text<'a>),
    Embed(&'a [u8]),
    Format {
        key: Text<'a>,
        value: &'a [u8],
    },
    Type {
        type_ref: u64,
        /// The node name of an XML element or hook.
        name: Option<Text<'a>>,
    },
    Any(&'a [u8]),
    Document {
        guid: Text<'a>,
        options: &'a [u8],
    },
}

/// JSON texts one after the other, as many as the struct is long.
#[derive(Clone, Copy, Debug)]
pub(crate) enum JsonTexts<'a> {
    /// In the string column of V2.
    Column {
        texts: TextReader<'a>,
        lengths: UintReader<'a>,
    },
    /// Each with its length before it, as in V1.
    Strings(Reader<'a>),
}

impl<'a> JsonTexts<'a> {
    /// The next text. A checked update always has as many as its struct is long.
    pub(crate) fn next(&mut self) -> Option<Text<'a>> {
        match self {
            JsonTexts::Column { texts, lengths } => {
                let units = lengths.read().ok()??;
                texts.read(units)
            }
            JsonTexts::Strings(reader) => {
                let text = std::str::from_utf8(reader.read_var_bytes().ok()?).ok()?;
                Some(Text::whole(text))
            }
        }
    }
}

impl Struct<'_> {
    pub(crate) fn end(&self) -> Clock {
        self.clock.saturating_add(self.len)
    }

    pub(crate) fn is_skip(&self) -> bool {
        matches!(self.body, Body::Skip)
    }

    /// Whether its elements count as deleted whatever a delete set says.
    pub(crate) fn is_deleted(&self) -> bool {
        match &self.body {
            Body::Gc => true,
            Body::Skip => false,
            Body::Item(item) => matches!(item.content, Content::Deleted),
        }
    }

    /// The elements of other structs that must be known before this one.
    pub(crate) fn dependencies(&self) -> impl Iterator<Item = Id> + use<> {
        let [origin, right_origin, parent] = match &self.body {
            Body::Gc | Body::Skip => [None; 3],
            Body::Item(item) => {
                let parent = match item.parent {
                    Some(Parent::Item(id)) => Some(id),
                    Some(Parent::Root(_)) | None => None,
                };
                [item.origin, item.right_origin, parent]
            }
        };
        origin.into_iter().chain(right_origin).chain(parent)
    }

    /// Drops the first `count` elements. Like Yjs, the rest gets its predecessor as origin.
    ///
    /// A cut character leaves its low half in front; see [`Struct::mend_front`].
    pub(crate) fn skip_elements(&mut self, count: Clock) {
        if count == 0 {
            return;
        }
        self.clock = self.clock.saturating_add(count);
        self.len = self.len.saturating_sub(count);
        let Body::Item(item) = &mut self.body else {
            return;
        };
        item.origin = Some(Id {
            client: self.client,
            clock: self.clock.saturating_sub(1),
        });
        item.parent = None;
        item.parent_sub = None;
        match &mut item.content {
            Content::String(text) => text.skip(count),
            Content::Any(values) => {
                *values = values.get(values_len(values, count)..).unwrap_or_default()
            }
            Content::Json(texts) => {
                for _ in 0..count {
                    if texts.next().is_none() {
                        break;
                    }
                }
            }
            // The others are one element long, or their length is all there is.
            Content::Deleted
            | Content::Binary(_)
            | Content::Embed(_)
            | Content::Format { .. }
            | Content::Type { .. }
            | Content::Document { .. } => {}
        }
    }

    /// Writes a character that [`Struct::skip_elements`] cut as U+FFFD, as Yjs does.
    pub(crate) fn mend_front(&mut self) {
        if let Body::Item(Item {
            content: Content::String(text),
            ..
        }) = &mut self.body
        {
            text.mend_front();
        }
    }

    /// Keeps the first `count` elements.
    pub(crate) fn truncate(&mut self, count: Clock) {
        if count >= self.len {
            return;
        }
        self.len = count;
        if let Body::Item(item) = &mut self.body {
            match &mut item.content {
                Content::String(text) => text.truncate(count),
                Content::Any(values) => {
                    *values = values.get(..values_len(values, count)).unwrap_or_default();
                }
                // JSON texts are read as many times as the struct is long.
                _ => {}
            }
        }
    }

    /// Which of two versions of the same clocks stays, compared over the first `count` elements:
    /// greater means this one has more information, or as much and the smaller form.
    ///
    /// Both start at the same clock.
    pub(crate) fn prefer(&self, other: &Struct<'_>, count: Clock) -> Ordering {
        let by_information = self.information().cmp(&other.information());
        by_information.then_with(|| match (&self.body, &other.body) {
            (Body::Item(own), Body::Item(others)) => own.compare(others, count).reverse(),
            _ => Ordering::Equal,
        })
    }

    fn information(&self) -> u8 {
        match &self.body {
            Body::Skip => 0,
            Body::Gc => 1,
            Body::Item(item) if matches!(item.content, Content::Deleted) => 2,
            Body::Item(_) => 3,
        }
    }
}

impl Item<'_> {
    fn compare(&self, other: &Item<'_>, count: Clock) -> Ordering {
        (self.origin, self.right_origin)
            .cmp(&(other.origin, other.right_origin))
            .then_with(|| match (&self.parent, &other.parent) {
                (Some(Parent::Root(own)), Some(Parent::Root(others))) => compare_texts(own, others),
                (Some(Parent::Item(own)), Some(Parent::Item(others))) => own.cmp(others),
                (Some(Parent::Root(_)), Some(Parent::Item(_))) => Ordering::Less,
                (Some(Parent::Item(_)), Some(Parent::Root(_))) => Ordering::Greater,
                (own, others) => own.is_some().cmp(&others.is_some()),
            })
            .then_with(|| match (&self.parent_sub, &other.parent_sub) {
                (Some(own), Some(others)) => compare_texts(own, others),
                (own, others) => own.is_some().cmp(&others.is_some()),
            })
            .then_with(|| self.content.compare(&other.content, count))
    }
}

impl Content<'_> {
    /// The number of the content kind on the wire.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Content::Deleted => 1,
            Content::Json(_) => 2,
            Content::Binary(_) => 3,
            Content::String(_) => 4,
            Content::Embed(_) => 5,
            Content::Format { .. } => 6,
            Content::Type { .. } => 7,
            Content::Any(_) => 8,
            Content::Document { .. } => 9,
        }
    }

    fn compare(&self, other: &Content<'_>, count: Clock) -> Ordering {
        match (self, other) {
            (Content::Json(own), Content::Json(others)) => compare_json(*own, *others, count),
            (Content::Binary(own), Content::Binary(others))
            | (Content::Embed(own), Content::Embed(others)) => own.cmp(others),
            (Content::String(own), Content::String(others)) => own.compare(others, count),
            (
                Content::Format { key, value },
                Content::Format {
                    key: other_key,
                    value: other_value,
                },
            ) => compare_texts(key, other_key).then_with(|| value.cmp(other_value)),
            (
                Content::Type { type_ref, name },
                Content::Type {
                    type_ref: other_ref,
                    name: other_name,
                },
            ) => type_ref
                .cmp(other_ref)
                .then_with(|| match (name, other_name) {
                    (Some(own), Some(others)) => compare_texts(own, others),
                    (own, others) => own.is_some().cmp(&others.is_some()),
                }),
            (Content::Any(own), Content::Any(others)) => {
                let own = own.get(..values_len(own, count)).unwrap_or_default();
                let others = others.get(..values_len(others, count)).unwrap_or_default();
                own.cmp(others)
            }
            (
                Content::Document { guid, options },
                Content::Document {
                    guid: other_guid,
                    options: other_options,
                },
            ) => compare_texts(guid, other_guid).then_with(|| options.cmp(other_options)),
            (own, others) => own.kind().cmp(&others.kind()),
        }
    }
}

fn compare_texts(own: &Text<'_>, others: &Text<'_>) -> Ordering {
    own.compare(others, u32::MAX)
}

fn compare_json(mut own: JsonTexts<'_>, mut others: JsonTexts<'_>, count: Clock) -> Ordering {
    for _ in 0..count {
        let order = match (own.next(), others.next()) {
            (Some(own), Some(others)) => compare_texts(&own, &others),
            (own, others) => own.is_some().cmp(&others.is_some()),
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// How many bytes the first `count` values take.
fn values_len(values: &[u8], count: Clock) -> usize {
    let mut reader = Reader::new(values);
    for _ in 0..count {
        if any::skip(&mut reader, any::Check::Lengths).is_err() {
            break;
        }
    }
    reader.position()
}
