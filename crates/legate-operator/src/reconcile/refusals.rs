//! Why a Secret is not there: the compiler only knows that it has none, the source knows whether it
//! may not or cannot be read.

use legate_compiler::{Diagnostic, codes};
use legate_source::kube::codes as source;

/// Says of each object that misses a Secret what the source says of that Secret.
pub(super) fn explain(diagnostics: &mut [Diagnostic], from_source: &[Diagnostic]) {
    let refusals: Vec<&Diagnostic> = from_source
        .iter()
        .filter(|said| {
            [source::W_SECRET_FORBIDDEN, source::W_SECRET_UNREADABLE].contains(&said.code)
        })
        .collect();
    if refusals.is_empty() {
        return;
    }
    for item in diagnostics.iter_mut() {
        if item.code != codes::E_SECRET_MISSING {
            continue;
        }
        let why = item.related.iter().find_map(|related| {
            let mut refusals = refusals.iter();
            refusals.find(|said| said.object.as_ref() == Some(&related.object))
        });
        if let Some(why) = why {
            item.code = why.code.clone();
            item.message.clone_from(&why.message);
            item.help.clone_from(&why.help);
        }
    }
    diagnostics.sort();
}

#[cfg(test)]
mod tests {
    use legate_compiler::ObjectRef;

    use super::*;

    fn object(kind: &str, name: &str) -> ObjectRef {
        ObjectRef {
            kind: kind.to_owned(),
            namespace: "a".to_owned(),
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_refusal_is_no_absence() {
        let missing = |name: &str| {
            let host = object("Host", name);
            let code = codes::E_SECRET_MISSING;
            Diagnostic::new(code, host, "spec.tlsSecret", "there is no Secret")
                .related(object("Secret", name), "the Secret")
        };
        let refused = Diagnostic::new(
            source::W_SECRET_FORBIDDEN,
            object("Secret", "locked"),
            "",
            "the Secret may not be read",
        );
        let mut all = [missing("locked"), missing("none")];
        let none = all[1].clone();
        explain(&mut all, &[refused]);
        let [first, second] = &all;
        assert_eq!(*first, none);
        assert_eq!(second.code, source::W_SECRET_FORBIDDEN);
        assert_eq!(second.message, "the Secret may not be read");
        assert_eq!(second.object, Some(object("Host", "locked")));
    }
}
