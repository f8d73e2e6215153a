//! A reader for the XML that `malloc_info` writes: elements, attributes, nothing else. Stricter than it must be, so that
//! what it takes, every reader takes.

#[derive(Debug)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
}

impl Element {
    #[track_caller]
    pub fn text(&self, attribute: &str) -> &str {
        let found = self.attributes.iter().find(|(name, _)| name == attribute);
        &found.unwrap_or_else(|| panic!("<{}> has no {attribute}: {self:?}", self.name)).1
    }

    #[track_caller]
    pub fn number(&self, attribute: &str) -> u64 {
        self.text(attribute).parse().unwrap_or_else(|e| panic!("{attribute} of <{}>: {e}: {self:?}", self.name))
    }

    fn is(&self, name: &str, kind: &str) -> bool {
        self.name == name && self.attributes.iter().any(|(n, v)| n == "type" && v == kind)
    }

    /// The one child of this name and of this `type`.
    #[track_caller]
    pub fn one(&self, name: &str, kind: &str) -> &Element {
        let found: Vec<&Element> = self.children.iter().filter(|c| c.is(name, kind)).collect();
        assert_eq!(found.len(), 1, "<{name} type=\"{kind}\"> in <{}>", self.name);
        found[0]
    }
}

/// The document's one root element.
#[track_caller]
pub fn parse(text: &str) -> Element {
    let mut open: Vec<Element> = Vec::new();
    let mut rest = text.trim();
    loop {
        let inside = rest.strip_prefix('<').unwrap_or_else(|| panic!("not an element: {rest:.80}"));
        let (tag, after) = inside.split_once('>').unwrap_or_else(|| panic!("no end: {rest:.80}"));
        rest = after.trim_start();
        let finished = if let Some(name) = tag.strip_prefix('/') {
            let element = open.pop().unwrap_or_else(|| panic!("</{name}> closes nothing"));
            assert_eq!(element.name, name, "closed by");
            Some(element)
        } else if let Some(tag) = tag.strip_suffix('/') {
            Some(element(tag))
        } else {
            open.push(element(tag));
            None
        };
        match (finished, open.last_mut()) {
            (Some(element), Some(parent)) => parent.children.push(element),
            (Some(root), None) => {
                assert_eq!(rest, "", "after the root element");
                return root;
            }
            (None, _) => {}
        }
    }
}

#[track_caller]
fn element(tag: &str) -> Element {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    assert!(!name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase()), "a name: {tag:?}");
    let mut attributes: Vec<(String, String)> = Vec::new();
    while !rest.trim().is_empty() {
        let (attribute, after) = rest.trim_start().split_once("=\"").unwrap_or_else(|| panic!("an attribute: {tag:?}"));
        let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("a value: {tag:?}"));
        assert!(after.is_empty() || after.starts_with(' '), "a blank between attributes: {tag:?}");
        assert!(attributes.iter().all(|(name, _)| name != attribute), "twice the same attribute: {tag:?}");
        attributes.push((attribute.to_string(), value.to_string()));
        rest = after;
    }
    Element { name: name.to_string(), attributes, children: Vec::new() }
}
