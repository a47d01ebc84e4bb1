//! What a grid stops with production, against the services of its compose files: names that
//! none of them has, production itself, and services that hang on production and run on. Pure.

use std::collections::BTreeMap;

use crate::engine::compose::{ComposeError, ComposeSource, Relations, project_name};
use crate::grid::{DockerBlock, ProductionName};

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Names in `pause` that cannot be meant, and why.
    pub(super) faults: Vec<(String, ComposeError)>,
    /// Services that are not in `pause`, and may have to be.
    pub(super) warnings: Vec<String>,
}

/// Looks at the services of the block's compose files, by their names.
pub(super) fn look(
    block: &DockerBlock,
    source: &ComposeSource,
    related: &BTreeMap<String, Relations>,
) -> Looked {
    let mut looked = Looked::default();
    let Some(production) = &block.production else { return looked };
    let project = project_name(source);
    let bears = |name: &ProductionName, service: &String| {
        bears(name, service, related.get(service), &project)
    };
    let own = related.keys().find(|service| bears(production, service));
    for name in &block.pause {
        let (ProductionName::Service(text) | ProductionName::Container(text)) = name;
        if own.is_some_and(|own| bears(name, own)) {
            let error = ComposeError::PausesProduction { name: name.to_string() };
            looked.faults.push((text.clone(), error));
        } else if matches!(name, ProductionName::Service(_))
            && !related.contains_key(text)
            && !source.mentions(text)
        {
            let services = related.keys().cloned().collect();
            let error = ComposeError::NoCompanion { service: text.clone(), services };
            looked.faults.push((text.clone(), error));
        }
    }
    let Some(own) = own else { return looked };
    for (service, relations) in related {
        if service == own || block.pause.iter().any(|name| bears(name, service)) {
            continue;
        }
        if let Some(key) = relations.needs.get(own) {
            looked.warnings.push(format!(
                "`{service}` depends on `{own}` and is not paused (`{key}`): it loses its server for \
                 the sweep, and who starts it may start `{own}`, too; `pause: [{service}]` stops it \
                 with production"
            ));
        } else if relations.has_socket {
            looked.warnings.push(format!(
                "`{service}` has the daemon's socket and is not paused: it can start `{own}` in \
                 mid-sweep; `pause: [{service}]` stops it with production"
            ));
        }
    }
    looked
}

/// Whether a name is that of a service, or of the container that the compose tool makes of it.
fn bears(
    name: &ProductionName,
    service: &str,
    relations: Option<&Relations>,
    project: &str,
) -> bool {
    match name {
        ProductionName::Service(name) => name == service,
        ProductionName::Container(name) => {
            match relations.and_then(|it| it.container_name.as_ref()) {
                Some(given) => given == name,
                // The second version of the tool, and the first.
                None => ['-', '_'].iter().any(|it| *name == format!("{project}{it}{service}{it}1")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> ProductionName {
        match text.strip_prefix('=') {
            Some(name) => ProductionName::Container(name.to_owned()),
            None => ProductionName::Service(text.to_owned()),
        }
    }

    /// Faults and warnings of a file with `vllm` (container `server`), `keepalive` that needs
    /// it, `watchdog` with the socket, and `web`.
    fn looked(production: &str, pause: &[&str]) -> (Vec<String>, Vec<String>) {
        let needs = BTreeMap::from([("vllm".to_owned(), "depends_on")]);
        let related = BTreeMap::from([
            (
                "vllm".to_owned(),
                Relations { container_name: Some("server".to_owned()), ..Relations::default() },
            ),
            ("keepalive".to_owned(), Relations { needs, ..Relations::default() }),
            ("watchdog".to_owned(), Relations { has_socket: true, ..Relations::default() }),
            ("web".to_owned(), Relations::default()),
        ]);
        let block = DockerBlock {
            production: Some(named(production)),
            pause: pause.iter().map(|it| named(it)).collect(),
            ..DockerBlock::default()
        };
        let source =
            ComposeSource { files: vec!["/nonexistent/shop/c.yaml".into()], ..Default::default() };
        let looked = look(&block, &source, &related);
        let faults = looked.faults.into_iter().map(|(_, error)| error.to_string()).collect();
        (faults, looked.warnings)
    }

    #[test]
    fn who_hangs_on_production_and_is_not_paused_is_named() {
        for production in ["vllm", "=server"] {
            let (faults, warnings) = looked(production, &[]);
            assert_eq!(faults, [""; 0]);
            assert!(warnings[0].starts_with("`keepalive` depends on `vllm` and is not paused"));
            assert!(warnings[1].contains("`watchdog` has the daemon's socket"), "{warnings:?}");
            assert_eq!(warnings.len(), 2);
            for paused in ["keepalive", "=shop-keepalive-1", "=shop_keepalive_1"] {
                assert_eq!(looked(production, &[paused, "watchdog"]).1, [""; 0], "{paused}");
            }
        }
        assert_eq!(looked("=of-nobody", &[]).1, [""; 0]);
    }

    #[test]
    fn names_in_pause_that_cannot_be_meant_are_faults() {
        for (production, pause) in [("vllm", "=server"), ("=server", "vllm")] {
            let (faults, _) = looked(production, &[pause]);
            assert!(faults[0].contains("production itself"), "{faults:?}");
        }
        let (faults, _) = looked("vllm", &["lost", "web", "=shop-vllm-1"]);
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].contains("`pause` names the service `lost`"), "{faults:?}");
        assert!(faults[0].contains("it has keepalive, vllm, watchdog, web"), "{faults:?}");
    }
}
