//! Pure decisions about addresses, names and links.
