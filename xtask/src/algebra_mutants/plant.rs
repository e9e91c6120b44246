//! Plants faults in a source file, each behind a switch of its own, so that one build holds all of them.
//!
//! The text of the file stays; calls of the module in `switch.rs` are put around what they may change.

use std::collections::BTreeSet;
use std::ops::Range;

use proc_macro2::Span;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{BinOp, Block, Expr, Lit, Pat, ReturnType, Stmt, Type, UnOp};

/// Methods that say yes or no, besides those whose name begins with `is_`.
const QUESTIONS: &[&str] = &["all", "any", "contains", "eq"];
/// Methods of one argument with an opposite: the name and what is planted instead.
const OPPOSITES: &[(&str, &str)] = &[
    ("min", "max"),
    ("max", "min"),
    ("saturating_add", "saturating_sub"),
    ("saturating_sub", "saturating_add"),
    ("checked_add", "checked_sub"),
    ("checked_sub", "checked_add"),
    ("max_by_key", "min_by_key"),
];

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    /// By which the switch knows it.
    pub(super) number: usize,
    pub(super) line: usize,
    /// The function it is in.
    pub(super) function: String,
    /// What becomes of which piece of the source.
    pub(super) fault: String,
}

/// A file with faults.
#[derive(Debug)]
pub(super) struct Planted {
    pub(super) text: String,
    pub(super) mutants: Vec<Mutant>,
    /// Where in the text each of them stands, the ones inside others last.
    pub(super) places: Vec<(usize, Range<usize>)>,
}

/// Plants every fault whose number is not in `left_out`; numbers begin with `first` and do not depend on what is left
/// out.
pub(super) fn plant(
    source: &str,
    first: usize,
    left_out: &BTreeSet<usize>,
) -> syn::Result<Planted> {
    let file = syn::parse_file(source)?;
    let mut planter = Planter {
        source,
        next: first,
        left_out,
        function: String::new(),
        mutants: Vec::new(),
        edits: Vec::new(),
    };
    planter.visit_file(&file);
    Ok(planter.finish())
}

/// A change of the text; of those at one place, what closes comes before what opens.
struct Edit {
    at: Range<usize>,
    text: String,
    /// Of whom, and which end of it.
    end: Option<(usize, End)>,
    /// How much stands between the two ends.
    wrapped: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Close,
}

struct Planter<'s> {
    source: &'s str,
    next: usize,
    left_out: &'s BTreeSet<usize>,
    function: String,
    mutants: Vec<Mutant>,
    edits: Vec<Edit>,
}

impl Planter<'_> {
    /// Takes a number for each fault that can be planted in one piece of the source; nothing if they are left out.
    fn take(&mut self, span: Span, faults: &[String]) -> Option<usize> {
        let number = self.next;
        self.next += faults.len();
        if self.left_out.contains(&number) {
            return None;
        }
        for (place, fault) in faults.iter().enumerate() {
            self.mutants.push(Mutant {
                number: number + place,
                line: span.start().line,
                function: self.function.clone(),
                fault: fault.clone(),
            });
        }
        Some(number)
    }

    /// The first words of a piece of the source.
    fn quote(&self, span: Span) -> String {
        let text = self.source.get(span.byte_range()).unwrap_or_default();
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        match text.char_indices().nth(60) {
            Some((end, _)) => format!("{} …", &text[..end]),
            None => text,
        }
    }

    fn wrap(&mut self, span: Span, number: usize, open: String, close: &str) {
        let range = span.byte_range();
        self.edits.push(Edit {
            at: range.start..range.start,
            text: open,
            end: Some((number, End::Open)),
            wrapped: range.len(),
        });
        self.edits.push(Edit {
            at: range.end..range.end,
            text: close.to_owned(),
            end: Some((number, End::Close)),
            wrapped: range.len(),
        });
    }

    fn replace(&mut self, at: Range<usize>, text: String) {
        self.edits.push(Edit {
            at,
            text,
            end: None,
            wrapped: 0,
        });
    }

    fn negate(&mut self, span: Span) {
        let fault = format!("negated: {}", self.quote(span));
        if let Some(number) = self.take(span, &[fault]) {
            self.wrap(
                span,
                number,
                format!("(crate::switch::on({number}) != ("),
                "))",
            );
        }
    }

    fn compare(&mut self, whole: Span, operator: &BinOp) {
        let (name, others): (_, &[&str]) = match operator {
            BinOp::Lt(_) => ("less", &["<=", ">="]),
            BinOp::Le(_) => ("less_or_equal", &["<", ">"]),
            BinOp::Gt(_) => ("greater", &[">=", "<="]),
            BinOp::Ge(_) => ("greater_or_equal", &[">", "<"]),
            BinOp::Eq(_) => ("equal", &["!="]),
            BinOp::Ne(_) => ("unequal", &["=="]),
            BinOp::And(_) => return self.join(whole, operator, "||"),
            BinOp::Or(_) => return self.join(whole, operator, "&&"),
            _ => return,
        };
        let quoted = self.quote(whole);
        let faults: Vec<String> = others
            .iter()
            .map(|other| format!("{other} in: {quoted}"))
            .collect();
        if let Some(number) = self.take(whole, &faults) {
            self.wrap(
                whole,
                number,
                format!("crate::switch::{name}({number}, &("),
                "))",
            );
            self.replace(operator.span().byte_range(), "), &(".to_owned());
        }
    }

    /// `a && b` and `a || b`, of which only one side is ever evaluated twice in the text.
    fn join(&mut self, whole: Span, operator: &BinOp, other: &str) {
        let fault = format!("{other} in: {}", self.quote(whole));
        if let Some(number) = self.take(whole, &[fault]) {
            let sign = if other == "||" { "!=" } else { "==" };
            self.wrap(
                whole,
                number,
                "({ let left = (".to_owned(),
                ") } else { left } })",
            );
            let between = format!("); if left {sign} crate::switch::on({number}) {{ (");
            self.replace(operator.span().byte_range(), between);
        }
    }

    fn call(&mut self, call: &syn::ExprMethodCall) {
        let method = call.method.to_string();
        let opposite = OPPOSITES.iter().find(|(name, _)| *name == method);
        if let Some((name, other)) = opposite
            && call.args.len() == 1
        {
            let fault = format!("{other} in: {}", self.quote(call.span()));
            if let Some(number) = self.take(call.span(), &[fault]) {
                self.wrap(
                    call.span(),
                    number,
                    format!("crate::switch::{name}({number}, "),
                    "",
                );
                let from = call.receiver.span().byte_range().end;
                let to = call.paren_token.span.open().byte_range().end;
                self.replace(from..to, ", ".to_owned());
            }
        } else if method.starts_with("is_") || QUESTIONS.contains(&method.as_str()) {
            self.negate(call.span());
        }
    }

    /// `if !on { statement }`.
    fn leave_out(&mut self, statement: &Stmt) {
        let fault = format!("left out: {}", self.quote(statement.span()));
        if let Some(number) = self.take(statement.span(), &[fault]) {
            let open = format!("if !crate::switch::on({number}) {{ ");
            self.wrap(statement.span(), number, open, " }");
        }
    }

    /// A function that gives something at once.
    fn answer(&mut self, signature: &syn::Signature, block: &Block) {
        self.function = signature.ident.to_string();
        for answer in answers(&signature.output) {
            let fault = format!("gives at once: {answer}");
            let open = block.brace_token.span.open();
            if let Some(number) = self.take(open, &[fault]) {
                let text = format!(" if crate::switch::on({number}) {{ return {answer}; }}");
                self.wrap(open, number, String::new(), &text);
            }
        }
    }

    fn finish(self) -> Planted {
        let mut order: Vec<(usize, &Edit)> = self.edits.iter().enumerate().collect();
        // At one place the inner ones close first and the outer ones open first.
        order.sort_by_key(|(index, edit)| {
            let (index, len) = (index.cast_signed(), edit.wrapped.cast_signed());
            match edit.end {
                Some((_, End::Close)) => (edit.at.start, 0, len, -index),
                _ => (edit.at.start, 1, -len, index),
            }
        });
        let mut text = String::new();
        let mut places: Vec<(usize, Range<usize>)> = Vec::new();
        let mut done = 0;
        for (_, edit) in order {
            text.push_str(self.source.get(done..edit.at.start).unwrap_or_default());
            if let Some((number, End::Open)) = edit.end {
                places.push((number, text.len()..usize::MAX));
            }
            text.push_str(&edit.text);
            if let Some((number, End::Close)) = edit.end
                && let Some(place) = places.iter_mut().rfind(|(open, _)| *open == number)
            {
                place.1.end = text.len();
            }
            done = edit.at.end;
        }
        text.push_str(self.source.get(done..).unwrap_or_default());
        Planted {
            text,
            mutants: self.mutants,
            places,
        }
    }
}

/// What a function of such a result can give without looking at anything.
fn answers(output: &ReturnType) -> &'static [&'static str] {
    let ReturnType::Type(_, output) = output else {
        return &["()"];
    };
    let Type::Path(path) = output.as_ref() else {
        return &[];
    };
    let name = path.path.segments.last().map(|last| last.ident.to_string());
    match name.as_deref() {
        Some("bool") => &["true", "false"],
        Some("Option") => &["None"],
        Some("Vec" | "DeleteSet" | "StateVector" | "Clock" | "Slot" | "u32" | "u64" | "usize") => {
            &["Default::default()"]
        }
        Some("Ordering") => &["core::cmp::Ordering::Equal"],
        _ => &[],
    }
}

/// Whether a statement can be left out where its value is not used.
fn is_action(expression: &Expr) -> bool {
    match expression {
        Expr::Assign(_)
        | Expr::Break(_)
        | Expr::Call(_)
        | Expr::Continue(_)
        | Expr::ForLoop(_)
        | Expr::If(_)
        | Expr::Loop(_)
        | Expr::Match(_)
        | Expr::MethodCall(_)
        | Expr::Return(_)
        | Expr::While(_) => true,
        Expr::Binary(binary) => !matches!(
            binary.op,
            BinOp::And(_) | BinOp::Or(_) | BinOp::Lt(_) | BinOp::Gt(_) | BinOp::Eq(_)
        ),
        _ => false,
    }
}

/// Whether an expression is `()` without a semicolon behind it.
fn is_unit(expression: &Expr) -> bool {
    match expression {
        Expr::ForLoop(_) | Expr::While(_) => true,
        Expr::If(branch) => branch.else_branch.is_none(),
        _ => false,
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes
        .iter()
        .any(|attribute| attribute.path().is_ident("cfg"))
}

impl<'ast> Visit<'ast> for Planter<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_test(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    // Evaluated while compiling, where there is no switch.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_pat(&mut self, _: &'ast Pat) {}

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if function.sig.constness.is_none() {
            self.answer(&function.sig, &function.block);
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if function.sig.constness.is_none() {
            self.answer(&function.sig, &function.block);
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        // What stands behind `else` must leave; there is nothing to plant in it.
        if let Some(init) = &local.init {
            self.visit_expr(&init.expr);
        }
    }

    fn visit_block(&mut self, block: &'ast Block) {
        for statement in &block.stmts {
            if let Stmt::Expr(expression, semicolon) = statement
                && is_action(expression)
                && (semicolon.is_some() || is_unit(expression))
            {
                self.leave_out(statement);
            }
            self.visit_stmt(statement);
        }
    }

    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }

    fn visit_expr(&mut self, expression: &'ast Expr) {
        match expression {
            Expr::Binary(binary) if !holds_let(expression) => {
                self.compare(expression.span(), &binary.op);
            }
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
                self.negate(expression.span());
                // The question behind it needs no other answer again.
                if let Expr::MethodCall(call) = unary.expr.as_ref() {
                    return visit::visit_expr_method_call(self, call);
                }
            }
            Expr::Macro(call) if call.mac.path.is_ident("matches") => {
                self.negate(expression.span());
            }
            Expr::MethodCall(call) => self.call(call),
            Expr::Lit(literal) => match &literal.lit {
                Lit::Bool(_) => self.negate(expression.span()),
                Lit::Int(value) => self.count(expression.span(), value),
                _ => {}
            },
            Expr::Call(call) => self.some(call),
            Expr::If(branch) => self.condition(&branch.cond),
            Expr::While(branch) => self.condition(&branch.cond),
            _ => {}
        }
        visit::visit_expr(self, expression);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = &arm.guard {
            self.condition(guard);
        }
        visit::visit_arm(self, arm);
    }
}

impl Planter<'_> {
    /// A condition that is a name or a field, which nothing else changes.
    fn condition(&mut self, condition: &Expr) {
        match condition {
            Expr::Binary(binary) if matches!(binary.op, BinOp::And(_) | BinOp::Or(_)) => {
                self.condition(&binary.left);
                self.condition(&binary.right);
            }
            Expr::Path(_) | Expr::Field(_) => self.negate(condition.span()),
            Expr::MethodCall(call) => {
                let method = call.method.to_string();
                if !method.starts_with("is_") && !QUESTIONS.contains(&method.as_str()) {
                    self.negate(condition.span());
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, span: Span, value: &syn::LitInt) {
        let other = match value.base10_digits() {
            "0" => "1".to_owned(),
            "1" => "0".to_owned(),
            digits => format!("{digits} + 1"),
        };
        let fault = format!("{other} for {value}");
        if let Some(number) = self.take(span, &[fault]) {
            self.wrap(
                span,
                number,
                format!("crate::switch::count({number}, "),
                ")",
            );
        }
    }

    fn some(&mut self, call: &syn::ExprCall) {
        let Expr::Path(path) = call.func.as_ref() else {
            return;
        };
        if path.path.is_ident("Some") {
            let fault = format!("None for {}", self.quote(call.span()));
            if let Some(number) = self.take(call.span(), &[fault]) {
                let open = format!("crate::switch::option({number}, ");
                self.wrap(call.span(), number, open, ")");
            }
        }
    }
}

/// Whether a condition binds names, so that it has to stay what it is.
fn holds_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => holds_let(&binary.left) || holds_let(&binary.right),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expect: &[&str]) -> Planted {
        let planted = plant(source, 0, &BTreeSet::new());
        let planted = planted.unwrap_or_else(|error| panic!("{error}"));
        let faults: Vec<&str> = planted
            .mutants
            .iter()
            .map(|one| one.fault.as_str())
            .collect();
        assert_eq!(faults, expect);
        assert!(syn::parse_file(&planted.text).is_ok(), "{}", planted.text);
        planted
    }

    #[test]
    fn every_kind_of_fault_is_planted() {
        check(
            "fn f(a: u32, is_b: bool) { if a < 1 { g(!is_b) ; } }",
            &[
                "gives at once: ()",
                "left out: if a < 1 { g(!is_b) ; }",
                "<= in: a < 1",
                ">= in: a < 1",
                "0 for 1",
                "left out: g(!is_b) ;",
                "negated: !is_b",
            ],
        );
        check(
            "fn f(a: Clock) -> Option<u32> { if a.is_odd() && b { Some(a.min(0)) } else { None } }",
            &[
                "gives at once: None",
                "negated: b",
                "|| in: a.is_odd() && b",
                "negated: a.is_odd()",
                "None for Some(a.min(0))",
                "max in: a.min(0)",
                "1 for 0",
            ],
        );
    }

    #[test]
    fn what_must_stay_as_it_is_is_left_alone() {
        check(
            "const N: u32 = 1 + 1; fn f<const M: usize>(a: [u8; 2]) -> Self { \
             let Some(b) = a else { return; }; match b { 1 if let Some(c) = d => c, (0, 2) => b } }",
            &[],
        );
    }

    #[test]
    fn wraps_nest() {
        let planted = check(
            "fn f() -> Self { a.max(0).max(b) }",
            &["min in: a.max(0).max(b)", "min in: a.max(0)", "1 for 0"],
        );
        let expect =
            "crate::switch::max(0, crate::switch::max(1, a, crate::switch::count(2, 0)), b)";
        assert_eq!(planted.text, format!("fn f() -> Self {{ {expect} }}"));
        assert_eq!(planted.places.len(), 3);
    }

    #[test]
    fn numbers_do_not_depend_on_what_is_left_out() {
        let source = "fn f() -> Self { if a < b { c(); } }";
        let whole = plant(source, 7, &BTreeSet::new());
        let part = plant(source, 7, &BTreeSet::from([8]));
        let numbers = |planted: syn::Result<Planted>| -> Vec<usize> {
            let mutants = planted.unwrap_or_else(|error| panic!("{error}")).mutants;
            mutants.iter().map(|mutant| mutant.number).collect()
        };
        // Two numbers belong to the comparison that is left out.
        assert_eq!(numbers(whole), [7, 8, 9, 10]);
        assert_eq!(numbers(part), [7, 10]);
    }
}
