//! Tables with aligned columns.

/// Which side of its column a cell stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A table under construction. Cells hold what is shown; a paint (an SGR code) takes no room.
#[derive(Debug)]
pub(super) struct TextTable {
    sides: Vec<Align>,
    rows: Vec<Vec<(String, Option<&'static str>)>>,
}

impl TextTable {
    pub(super) fn new(columns: &[(&str, Align)]) -> Self {
        let titles = columns
            .iter()
            .map(|(title, _)| ((*title).to_owned(), None))
            .collect();
        Self {
            sides: columns.iter().map(|(_, side)| *side).collect(),
            rows: vec![titles],
        }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = (String, Option<&'static str>)>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table, each line after `margin`, with two blanks between columns.
    pub(super) fn text(&self, margin: &str) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|(text, _)| text.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.sides.len()).map(width).collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = margin.to_owned();
            for ((text, paint), (side, width)) in row.iter().zip(self.sides.iter().zip(&widths)) {
                let room = " ".repeat(width.saturating_sub(text.chars().count()));
                let text = painted(text, *paint);
                match side {
                    Align::Left => line.extend([text.as_str(), &room, "  "]),
                    Align::Right => line.extend([room.as_str(), &text, "  "]),
                }
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// `text` in a colour, if there is one.
pub(super) fn painted(text: &str, paint: Option<&str>) -> String {
    paint.map_or_else(
        || text.to_owned(),
        |code| format!("\u{1b}[{code}m{text}\u{1b}[0m"),
    )
}
