//! Small typed views of stored objects: only the fields that a controller reads.
