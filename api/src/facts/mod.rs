//! The descriptor table: for each Kubernetes message its fields, protobuf numbers, types and merge keys.
