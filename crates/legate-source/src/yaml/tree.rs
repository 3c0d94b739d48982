//! A document as a tree whose nodes remember where they were written.
//!
//! Only built when somebody asks for a position; the loading path never makes one.

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Parser, Span, StructureStyle, options};

/// A node and the text it covers.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: NodeKind,
    pub(crate) mark: Mark,
}

/// What a node is.
#[derive(Debug)]
pub(crate) enum NodeKind {
    /// A scalar, unescaped.
    Scalar(String),
    /// A mapping's pairs in order.
    Map(Vec<(Node, Node)>),
    /// A sequence.
    Seq(Vec<Node>),
    /// The index of the node that an alias repeats, in [`Tree::anchors`].
    Alias(usize),
}

/// A span on one line: where the node starts, and how much of that line it covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// 1-based line in the document's text.
    pub(crate) line: u32,
    /// 1-based column in characters.
    pub(crate) column: u32,
    /// Characters on this line; `None`: up to the line's end.
    pub(crate) length: Option<u32>,
    /// Written over several lines of a block, so better shown at its key.
    pub(crate) block: bool,
}

/// A document's tree.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: Node,
    /// Paths to anchored nodes cannot be borrowed while building, so their texts are parsed into
    /// the tree once and looked up by id.
    anchors: HashMap<usize, Vec<usize>>,
}

impl Tree {
    /// Builds the tree; `None` for an empty document or one with a syntax error.
    pub(crate) fn parse(text: &str) -> Option<Tree> {
        let parser = Parser::new_from_str_with_options(text, options! { emit_comments: false });
        let mut builder = Builder::default();
        for next in parser {
            let (event, span) = next.ok()?;
            if let Some(root) = builder.take(event, span)? {
                return Some(Tree {
                    root,
                    anchors: builder.anchors,
                });
            }
        }
        None
    }

    /// The node itself, or the one that its alias repeats.
    pub(crate) fn target<'t>(&'t self, node: &'t Node) -> Option<&'t Node> {
        let NodeKind::Alias(id) = node.kind else {
            return Some(node);
        };
        let mut found = &self.root;
        for step in self.anchors.get(&id)? {
            found = match &found.kind {
                // Keys and values count alike, so that a step is one number.
                NodeKind::Map(pairs) => {
                    let (key, value) = pairs.get(step / 2)?;
                    if step % 2 == 0 { key } else { value }
                }
                NodeKind::Seq(items) => items.get(*step)?,
                _ => return None,
            };
        }
        // An alias cannot name an alias: anchors are on nodes with content.
        (!matches!(found.kind, NodeKind::Alias(_))).then_some(found)
    }
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Vec<usize>>,
}

struct Open {
    mark: Mark,
    content: Content,
}

enum Content {
    Map(Vec<(Node, Node)>, Option<Node>),
    Seq(Vec<Node>),
}

impl Builder {
    /// Takes one event; `Some(Some(root))` when the first document's root is complete.
    #[expect(
        clippy::option_option,
        reason = "outer: go on at all; inner: the finished root"
    )]
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<Option<Node>> {
        let (kind, mark) = match event {
            Event::Scalar(text, _, anchor, _) => {
                self.anchor(anchor);
                (NodeKind::Scalar(text.into_owned()), mark(&span, false))
            }
            Event::Alias(id) => (NodeKind::Alias(id), mark(&span, false)),
            Event::MappingStart(style, anchor, _) => {
                self.anchor(anchor);
                self.start(&span, style, Content::Map(Vec::new(), None));
                return Some(None);
            }
            Event::SequenceStart(style, anchor, _) => {
                self.anchor(anchor);
                self.start(&span, style, Content::Seq(Vec::new()));
                return Some(None);
            }
            Event::MappingEnd | Event::SequenceEnd => {
                let mut open = self.open.pop()?;
                if !open.mark.block && to_u32(span.start.line()) == open.mark.line {
                    let end = to_u32(span.end.col()).saturating_add(1);
                    open.mark.length = Some(end.saturating_sub(open.mark.column));
                }
                let kind = match open.content {
                    Content::Map(pairs, _) => NodeKind::Map(pairs),
                    Content::Seq(items) => NodeKind::Seq(items),
                };
                (kind, open.mark)
            }
            _ => return Some(None),
        };
        let node = Node { kind, mark };
        let Some(parent) = self.open.last_mut() else {
            return Some(Some(node));
        };
        match &mut parent.content {
            Content::Seq(items) => items.push(node),
            Content::Map(pairs, key) => match key.take() {
                None => *key = Some(node),
                Some(key) => pairs.push((key, node)),
            },
        }
        Some(None)
    }

    fn start(&mut self, span: &Span, style: StructureStyle, content: Content) {
        let mut mark = mark(span, style == StructureStyle::Block);
        mark.length = None;
        self.open.push(Open { mark, content });
    }

    /// Remembers the way to the node that comes next.
    fn anchor(&mut self, id: usize) {
        if id == 0 {
            return;
        }
        let way = self.open.iter().map(|open| match &open.content {
            Content::Seq(items) => items.len(),
            Content::Map(pairs, key) => pairs.len() * 2 + usize::from(key.is_some()),
        });
        self.anchors.insert(id, way.collect());
    }
}

fn mark(span: &Span, block: bool) -> Mark {
    let one_line = span.start.line() == span.end.line();
    Mark {
        line: to_u32(span.start.line()).max(1),
        column: to_u32(span.start.col()).saturating_add(1),
        length: one_line.then(|| to_u32(span.end.col().saturating_sub(span.start.col()))),
        block,
    }
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
