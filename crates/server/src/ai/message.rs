//! A conversation as every protocol gets it: a flat list of messages, whatever form the client sent.

use serde_json::Value;

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// What the person said.
    User(Vec<Part>),
    /// What the model said and called.
    Assistant {
        /// Empty when there were only calls.
        text: String,
        calls: Vec<ToolCall>,
    },
    /// The answer to one call.
    Tool { call_id: String, content: String },
}

/// A piece of a user's message.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Text(String),
    Media(Media),
}

/// An image, a recording, a film or a document.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Media {
    pub(super) kind: MediaKind,
    pub(super) source: MediaSource,
    pub(super) mime_type: Option<String>,
    /// What the client calls a document.
    pub(super) file_name: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MediaKind {
    Image,
    Audio,
    Video,
    Document,
}

impl MediaKind {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "image" => Some(Self::Image),
            "audio" => Some(Self::Audio),
            "video" => Some(Self::Video),
            "document" => Some(Self::Document),
            _ => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Document => "document",
        }
    }

    /// What it is when the client does not say.
    pub(super) fn default_mime_type(self) -> &'static str {
        match self {
            Self::Image => "image/jpeg",
            Self::Audio => "audio/mp3",
            Self::Video => "video/mp4",
            Self::Document => "application/pdf",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum MediaSource {
    /// Where the provider finds it; the hub fetches nothing.
    Url(String),
    /// Base64.
    Data(String),
}

impl Media {
    pub(super) fn mime_type(&self) -> &str {
        self.mime_type
            .as_deref()
            .unwrap_or_else(|| self.kind.default_mime_type())
    }

    /// The URL, or the data as one.
    pub(super) fn to_url(&self) -> String {
        match &self.source {
            MediaSource::Url(url) => url.clone(),
            MediaSource::Data(data) => format!("data:{};base64,{data}", self.mime_type()),
        }
    }
}

/// A call that the model made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToolCall {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON as the model wrote it; it may be broken.
    pub(super) arguments: String,
}

impl ToolCall {
    /// A call without arguments is one with an empty object: providers refuse an empty text.
    pub(super) fn new(id: String, name: String, mut arguments: String) -> Self {
        if arguments.trim().is_empty() {
            "{}".clone_into(&mut arguments);
        }
        Self {
            id,
            name,
            arguments,
        }
    }
}

/// A tool that the client offers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: Option<String>,
    /// `None`: it takes no arguments.
    pub(super) schema: Option<Value>,
    pub(super) needs_approval: bool,
}

/// Arguments as an object; what is none counts as empty.
pub(super) fn parse_arguments(arguments: &str) -> Value {
    serde_json::from_str(arguments)
        .ok()
        .filter(Value::is_object)
        .unwrap_or_else(|| Value::Object(serde_json::Map::new()))
}

/// The answer that the hub itself gives to a call of a tool nobody declared.
pub(super) fn unknown_tool_result(name: &str) -> String {
    serde_json::json!({ "error": format!("Unknown tool: {name}") }).to_string()
}
