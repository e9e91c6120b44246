//! How lists grow: by a quarter, where [`Vec`] would double them.
//!
//! Several lists of an operation are full at the same time, so what they hold in reserve counts towards
//! the memory that the operation takes.

/// The first step of a list that has something in it already.
const STEP_BYTES: usize = 32;

/// The list with room for `more` entries.
#[inline]
pub(crate) fn spare<T>(list: &mut Vec<T>, more: usize) -> &mut Vec<T> {
    if list.capacity().saturating_sub(list.len()) < more {
        grow(list, more);
    }
    list
}

/// Appends one entry.
#[inline]
pub(crate) fn push<T>(list: &mut Vec<T>, entry: T) {
    spare(list, 1).push(entry);
}

#[cold]
fn grow<T>(list: &mut Vec<T>, more: usize) {
    let step = STEP_BYTES.checked_div(size_of::<T>()).unwrap_or(1);
    let wanted = if list.is_empty() {
        more
    } else {
        more.max(step).max(list.len() / 4)
    };
    list.reserve_exact(wanted);
}

/// Puts bytes into a list that are known only after what stands behind them.
pub(crate) fn insert(list: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    spare(list, bytes.len()).extend_from_slice(bytes);
    if let Some(behind) = list.get_mut(at..) {
        behind.rotate_right(bytes.len().min(behind.len()));
    }
}
