//! Places between the statements of a commit where a test looks at the files, or ends it all.

use std::cell::RefCell;

type Hook = Box<dyn FnMut(&'static str)>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Calls the hook of this thread, if it has one.
pub(super) fn reached(place: &'static str) {
    // Taken out while it runs, because it may write as well.
    let Some(mut hook) = HOOK.with_borrow_mut(Option::take) else {
        return;
    };
    hook(place);
    HOOK.with_borrow_mut(|slot| *slot = Some(hook));
}

/// From now on this thread calls the hook; none ends that.
pub(super) fn set(hook: Option<Hook>) {
    HOOK.set(hook);
}
