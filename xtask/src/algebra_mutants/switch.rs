//! Goes into the copy of the crate as a module: which fault is switched on, and what it makes of things.

use std::sync::LazyLock;

static SWITCHED_ON: LazyLock<usize> = LazyLock::new(|| {
    let number = std::env::var("ALGEBRA_MUTANT").ok();
    number.and_then(|number| number.parse().ok()).unwrap_or(usize::MAX)
});

pub(crate) fn on(number: usize) -> bool {
    *SWITCHED_ON == number
}

pub(crate) fn less<T: PartialOrd + ?Sized>(number: usize, left: &T, right: &T) -> bool {
    if on(number) {
        left <= right
    } else {
        (left < right) != on(number + 1)
    }
}

pub(crate) fn less_or_equal<T: PartialOrd + ?Sized>(number: usize, left: &T, right: &T) -> bool {
    if on(number) {
        left < right
    } else {
        (left <= right) != on(number + 1)
    }
}

pub(crate) fn greater<T: PartialOrd + ?Sized>(number: usize, left: &T, right: &T) -> bool {
    less(number, right, left)
}

pub(crate) fn greater_or_equal<T: PartialOrd + ?Sized>(number: usize, left: &T, right: &T) -> bool {
    less_or_equal(number, right, left)
}

pub(crate) fn equal<T: PartialEq + ?Sized>(number: usize, left: &T, right: &T) -> bool {
    (left == right) != on(number)
}

pub(crate) fn unequal<T: PartialEq + ?Sized>(number: usize, left: &T, right: &T) -> bool {
    (left != right) != on(number)
}

pub(crate) fn min<T: Ord>(number: usize, left: T, right: T) -> T {
    if on(number) { left.max(right) } else { left.min(right) }
}

pub(crate) fn max<T: Ord>(number: usize, left: T, right: T) -> T {
    if on(number) { left.min(right) } else { left.max(right) }
}

pub(crate) fn option<T>(number: usize, value: Option<T>) -> Option<T> {
    if on(number) { None } else { value }
}

pub(crate) fn max_by_key<I: Iterator, K: Ord>(
    number: usize,
    items: I,
    key: impl FnMut(&I::Item) -> K,
) -> Option<I::Item> {
    if on(number) { items.min_by_key(key) } else { items.max_by_key(key) }
}

pub(crate) trait Number: Copy {
    fn plus(self, other: Self) -> Option<Self>;
    fn minus(self, other: Self) -> Option<Self>;
    fn limit(is_upper: bool) -> Self;
    fn another(self) -> Self;
}

macro_rules! numbers {
    ($($number:ty),*) => {
        $(impl Number for $number {
            fn plus(self, other: Self) -> Option<Self> {
                self.checked_add(other)
            }
            fn minus(self, other: Self) -> Option<Self> {
                self.checked_sub(other)
            }
            fn limit(is_upper: bool) -> Self {
                if is_upper { Self::MAX } else { Self::MIN }
            }
            fn another(self) -> Self {
                if self == 1 { 0 } else { self + 1 }
            }
        })*
    };
}

numbers!(u8, u16, u32, u64, usize, i32, i64);

pub(crate) fn count<N: Number>(number: usize, value: N) -> N {
    if on(number) { value.another() } else { value }
}

pub(crate) fn checked_add<N: Number>(number: usize, left: N, right: N) -> Option<N> {
    if on(number) { left.minus(right) } else { left.plus(right) }
}

pub(crate) fn checked_sub<N: Number>(number: usize, left: N, right: N) -> Option<N> {
    if on(number) { left.plus(right) } else { left.minus(right) }
}

pub(crate) fn saturating_add<N: Number>(number: usize, left: N, right: N) -> N {
    checked_add(number, left, right).unwrap_or(N::limit(!on(number)))
}

pub(crate) fn saturating_sub<N: Number>(number: usize, left: N, right: N) -> N {
    checked_sub(number, left, right).unwrap_or(N::limit(on(number)))
}
