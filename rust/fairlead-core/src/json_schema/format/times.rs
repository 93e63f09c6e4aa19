//! Dates, times and durations: RFC 3339.

use super::Make;
use crate::automata::{EPS, ExprId};

/// What may follow a date.
#[derive(Clone, Copy)]
struct After {
    /// On most days.
    day: ExprId,
    /// On the first of January and of July: where clocks are ahead of UTC, a leap second falls on these.
    first: ExprId,
    /// On the last of June and of December: where they are not ahead, on these.
    last: ExprId,
}

/// Minutes as hours and minutes.
fn clock(minutes: u32) -> String {
    format!("{:02}:{:02}", minutes / 60, minutes % 60)
}

impl Make<'_> {
    pub(super) fn date(&self) -> ExprId {
        self.date_then(After { day: EPS, first: EPS, last: EPS })
    }

    /// A leap second is 23:59:60 in UTC, whatever the offset; as no date is known, it may come on any day.
    pub(super) fn time(&self) -> ExprId {
        self.store.union([self.plain_time(), self.leap_utc(), self.leap_behind(), self.leap_ahead()])
    }

    /// Leap seconds come at the end of June or of December in UTC.
    pub(super) fn date_time(&self) -> ExprId {
        let at = |time| self.store.concat(self.class("Tt"), time);
        let plain = self.plain_time();
        self.date_then(After {
            day: at(plain),
            first: at(self.alt([plain, self.leap_ahead()])),
            last: at(self.alt([plain, self.leap_utc(), self.leap_behind()])),
        })
    }

    fn date_then(&self, after: After) -> ExprId {
        let days = |from: u8, to: u8| self.seq([self.number(from, to), after.day]);
        let first = |to: u8| self.alt([self.then("-01", after.first), self.then("-", days(2, to))]);
        let last = |of: u8| {
            let end = self.seq([self.number(of, of), after.last]);
            self.then("-", self.alt([days(1, of - 1), end]))
        };
        let month = |february: u8| {
            self.then(
                "-",
                self.alt([
                    self.seq([
                        self.alt([self.then("0", self.class("358")), self.lit("10")]),
                        self.then("-", days(1, 31)),
                    ]),
                    self.seq([
                        self.alt([self.then("0", self.class("49")), self.lit("11")]),
                        self.then("-", days(1, 30)),
                    ]),
                    self.seq([self.then("0", self.class("17")), first(31)]),
                    self.then("06", last(30)),
                    self.then("12", last(31)),
                    self.then("02-", days(1, february)),
                ]),
            )
        };
        self.year(month(28), month(29))
    }

    /// Four digits, followed by `plain` or, in leap years, by `leap`.
    fn year(&self, plain: ExprId, leap: ExprId) -> ExprId {
        let split = |first: &str, last: &str, rest: &str, yes: ExprId, no: ExprId| {
            let options = self.alt([self.seq([self.class(last), yes]), self.seq([self.class(rest), no])]);
            self.seq([self.class(first), options])
        };
        let odd = split("13579", "26", "01345789", leap, plain);
        let even = split("2468", "048", "1235679", leap, plain);
        let century = |leaps: bool| {
            let zero = if leaps {
                split("0", "048", "1235679", leap, plain)
            } else {
                split("0", "48", "01235679", leap, plain)
            };
            self.alt([zero, odd, even])
        };
        let (yes, no) = (century(true), century(false));
        self.alt([split("02468", "048", "1235679", yes, no), split("13579", "26", "01345789", yes, no)])
    }

    fn fraction(&self) -> ExprId {
        self.opt(self.then(".", self.plus(self.digit())))
    }

    fn plain_time(&self) -> ExprId {
        let (hour, sixty) = (self.number(0, 23), self.number(0, 59));
        let offset = self.alt([self.class("Zz"), self.seq([self.class("+-"), hour, self.then(":", sixty)])]);
        self.seq([hour, self.then(":", sixty), self.then(":", sixty), self.fraction(), offset])
    }

    fn leap_utc(&self) -> ExprId {
        let zone = self.alt([self.class("Zz"), self.lit("+00:00")]);
        self.then("23:59:60", self.seq([self.fraction(), zone]))
    }

    /// A leap second where clocks are behind UTC, or show it under an offset of `-00:00`.
    fn leap_behind(&self) -> ExprId {
        self.leap_elsewhere((0..96).map(|quarter| (quarter, format!("-{}", clock(95 * 15 - quarter * 15)))))
    }

    /// A leap second where clocks are ahead of UTC: a minute later they show the offset. The last quarter is left
    /// out: a minute later it would be no offset at all.
    fn leap_ahead(&self) -> ExprId {
        self.leap_elsewhere((0..95).map(|quarter| (quarter, format!("+{}", clock(quarter * 15 + 15)))))
    }

    /// A leap second on the last minute of a quarter of the day, with the offset that makes it 23:59 in UTC. Offsets
    /// that are no multiples of 15 minutes are left out: none was in use when leap seconds began, or is since.
    fn leap_elsewhere(&self, offsets: impl Iterator<Item = (u32, String)>) -> ExprId {
        let fraction = self.fraction();
        let at = |(quarter, offset): (u32, String)| {
            let time = format!("{}:60", clock(quarter * 15 + 14));
            (time.into_bytes().into(), self.seq([fraction, self.lit(&offset)]))
        };
        self.store.switch(offsets.map(at).collect())
    }

    /// RFC 3339, appendix A: units in order and without gaps, whole numbers, weeks alone.
    pub(super) fn duration(&self) -> ExprId {
        let number = self.plus(self.digit());
        let (seconds, minutes, hours) = {
            let seconds = self.lit("S");
            let minutes = self.then("M", self.opt(self.seq([number, seconds])));
            (seconds, minutes, self.then("H", self.opt(self.seq([number, minutes]))))
        };
        let time = self.then("T", self.seq([number, self.alt([seconds, minutes, hours])]));
        let days = self.lit("D");
        let months = self.then("M", self.opt(self.seq([number, days])));
        let years = self.then("Y", self.opt(self.seq([number, months])));
        let dates = self.seq([self.alt([days, months, years]), self.opt(time)]);
        self.then("P", self.alt([time, self.seq([number, self.alt([dates, self.lit("W")])])]))
    }
}
