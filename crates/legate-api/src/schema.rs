//! The schemas of the group's kinds, taken from the Rust types: once strict, for decoding, and once
//! wide, for the CRDs, where a field may also have the shape that it had in v2.
//!
//! Marks on the types' fields (`schemars(extend(..))`) that are read here and never leave:
//! `x-wide: true` (the field differs between v2 and v3alpha1) or `"values"` (the values of the map
//! do), `x-required: true` or `"strict"` (not in the CRD, because v2 does not require it),
//! `x-int-or-string`, `x-list-map-key`.

mod emit;
mod old_names;
mod shape;

use std::sync::LazyLock;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

pub(crate) use old_names::{OLD_NAMES, OldName};
pub(crate) use shape::{Form, Required, Shape};

use crate::object::Kind;
use crate::status::{CommonStatus, HostStatus};

/// Schema of `spec` in the shape of v3alpha1, as typed as the Rust types; `None` for kinds that are
/// not of the group. Fields that only v2 has are not in it.
#[must_use]
pub fn for_kind(kind: Kind) -> Option<Value> {
    Some(emit::strict(shape_of(kind)?))
}

/// Schema of `spec` as the CRD has it: wide enough for v2 and v3alpha1, with the fields of both.
#[must_use]
pub fn wide_for_kind(kind: Kind) -> Option<Value> {
    Some(emit::wide(&widened(kind)?))
}

/// Schema of `status` as the CRD has it.
#[must_use]
pub fn status_for_kind(kind: Kind) -> Option<Value> {
    shape_of(kind)?;
    let shape = match kind {
        Kind::Host => derive::<HostStatus>(),
        _ => derive::<CommonStatus>(),
    };
    Some(emit::wide(&shape))
}

/// The strict shape of a kind's `spec`.
pub(crate) fn shape_of(kind: Kind) -> Option<&'static Shape> {
    static SHAPES: LazyLock<Vec<Option<Shape>>> =
        LazyLock::new(|| Kind::ALL.iter().copied().map(derive_kind).collect());
    SHAPES.get(kind as usize)?.as_ref()
}

/// The shape of a kind's `spec` with the fields that only v2 has.
fn widened(kind: Kind) -> Option<Shape> {
    let mut shape = shape_of(kind)?.clone();
    for old in OLD_NAMES.iter().filter(|old| old.kind == kind) {
        shape.add_old_name(old);
    }
    Some(shape)
}

fn derive_kind(kind: Kind) -> Option<Shape> {
    Some(match kind {
        Kind::Host => derive::<crate::host::HostSpec>(),
        Kind::Listener => derive::<crate::listener::ListenerSpec>(),
        Kind::Mapping => derive::<crate::mapping::MappingSpec>(),
        Kind::TcpMapping => derive::<crate::tcp_mapping::TcpMappingSpec>(),
        Kind::TlsContext => derive::<crate::tls_context::TlsContextSpec>(),
        Kind::Module => derive::<crate::module::ModuleSpec>(),
        Kind::KubernetesEndpointResolver => {
            derive::<crate::resolvers::KubernetesEndpointResolverSpec>()
        }
        Kind::KubernetesServiceResolver => {
            derive::<crate::resolvers::KubernetesServiceResolverSpec>()
        }
        Kind::ConsulResolver => derive::<crate::resolvers::ConsulResolverSpec>(),
        Kind::AuthService => derive::<crate::services::AuthServiceSpec>(),
        Kind::RateLimitService => derive::<crate::services::RateLimitServiceSpec>(),
        Kind::RateLimit => derive::<crate::rate_limits::RateLimitSpec>(),
        Kind::RateLimitPolicy => derive::<crate::rate_limits::RateLimitPolicySpec>(),
        Kind::LogService => derive::<crate::services::LogServiceSpec>(),
        Kind::TracingService => derive::<crate::services::TracingServiceSpec>(),
        _ => return None,
    })
}

fn derive<T: JsonSchema>() -> Shape {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let schema = settings.into_generator().into_root_schema_for::<T>();
    Shape::read(schema.as_value())
}

#[cfg(test)]
mod tests;
