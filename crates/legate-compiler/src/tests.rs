//! Tests over whole compiles: the worked examples of spec/routing §8 that need no data plane, and
//! the property that incremental and full compiles agree.

mod mappings;
mod property;
mod wanted;
