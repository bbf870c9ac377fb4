//! What this release does with each field: honoured, warned about or refused.
