//===-- TerminalMap.swift - the map in characters -------------------------------------------------===//
// A cell is a part of a group; the height of its block says how full that part is. Few groups get
// rows of their own; many share rows, in address order, so that 300 groups still fit a screen or two.

import BGDiskFormat
import BlockGroups

/// Draws block groups in a terminal.
struct TerminalMap {
    private let image: Image
    private let width: Int
    private let style: Style

    /// Above this many groups, several share a row.
    private static let rowsMax = 48

    init(_ image: Image, width: Int, style: Style) {
        self.image = image
        self.width = max(40, width)
        self.style = style
    }

    func write(to output: inout Output, wantsRows: Bool) {
        writeLegend(to: &output)
        output.line()
        if wantsRows || image.groups.count <= TerminalMap.rowsMax {
            writeRows(to: &output)
        } else {
            writeGrid(to: &output)
        }
        output.line()
        writeTotals(to: &output)
    }

    private func writeLegend(to output: inout Output) {
        output.line(
            style.bold(printable(image.title))
                + style.dim(
                    "  \(sizeText(image.superBlock.totalBytes)), "
                        + counted(UInt64(image.groups.count), "block group")
                )
        )
        let kinds = image.kinds.map { style.paint("█ ", colour($0)) + $0.name }
        let steps = (0...8).map { block($0) }.joined()
        output.line(
            "free " + style.paint(steps, "38;5;245;48;5;236") + " used   "
                + kinds.joined(separator: "   ") + "   " + style.paint("S", "1;7")
                + " copy of the super block"
        )
    }

    /// A few rows for each group: more where there are few groups.
    private func writeRows(to output: inout Output) {
        let rows = image.groups.count == 1 ? 8 : image.groups.count <= 3 ? 2 : 1
        let names = image.groups.map { $0.words }
        let starts = image.groups.map { String($0.logical) }
        let sizes = image.groups.map { sizeText($0.length) }
        let nameWidth = names.map(\.count).max() ?? 0
        let startWidth = starts.map(\.count).max() ?? 0
        let sizeWidth = sizes.map(\.count).max() ?? 0
        // Start, name, size, strip, share: with two blanks between them.
        let labels = startWidth + nameWidth + sizeWidth + 6
        let isNarrow = width - labels - 8 < 24
        let indent = isNarrow ? 0 : labels
        let cells = max(16, width - indent - (isNarrow ? 0 : 8))
        for (index, group) in image.groups.enumerated() {
            let label =
                right(starts[index], startWidth) + "  "
                + style.paint(left(names[index], nameWidth), colour(GroupKind(group.group.flags)))
                + "  " + right(sizes[index], sizeWidth)
            let share = percentText(group.record.used, of: group.length)
            if isNarrow { output.line(label + "  " + share) }
            let strips = strip(group, cells: cells, rows: rows)
            for (row, strip) in strips.enumerated() {
                let before = isNarrow ? "" : row == 0 ? label + "  " : blanks(indent)
                let after = isNarrow || row > 0 ? "" : "  " + right(share, 6)
                output.line(before + strip + after)
            }
        }
    }

    /// Many groups: as many side by side as fit, the address of the first in front.
    private func writeGrid(to output: inout Output) {
        let starts = image.groups.map { sizeText($0.logical) }
        let startWidth = starts.map(\.count).max() ?? 0
        let room = width - startWidth - 1
        let cells = max(6, min(16, room / 8 - 1))
        let perRow = max(1, room / (cells + 1))
        // Ends: `first` grows each time.
        var first = 0
        while first < image.groups.count {
            var line = style.dim(right(starts[first], startWidth))
            for group in image.groups[first..<min(first + perRow, image.groups.count)] {
                line += " " + (strip(group, cells: cells, rows: 1).first ?? "")
            }
            output.line(line)
            first += perRow
        }
        output.line(
            style.dim("each strip is a block group, \(cells) cells; --rows gives each its own row")
        )
    }

    private func writeTotals(to output: inout Output) {
        for total in Totals.byType(of: image) {
            let name = style.paint(left(total.words, 16), colour(GroupKind(total.flags)))
            output.line(
                name + " " + bar(total.used, of: total.length, cells: 16) + " "
                    + right(percentText(total.used, of: total.length), 6)
                    + "  \(sizeText(total.used)) of \(sizeText(total.length)) used, "
                    + "\(sizeText(total.free)) free in \(counted(total.runs, "run"))"
                    + (total.runs > 1 ? ", the largest \(sizeText(total.largestRun))" : "")
            )
        }
    }

    /// A group as rows of `cells` characters each.
    private func strip(_ group: ImageGroup, cells: Int, rows: Int) -> [String] {
        guard group.failure == nil else {
            return [style.paint(left("unreadable", cells), "31;7")]
        }
        let coverage = Coverage(group, cells: cells * rows)
        let codes = colour(GroupKind(group.group.flags)) + ";48;5;236"
        var lines: [String] = []
        for row in 0..<rows {
            var line = ""
            var run = ""
            for cell in row * cells..<(row + 1) * cells {
                guard cell < coverage.count else { break }
                if coverage.hasSuperBlock[cell] {
                    line += style.paint(run, codes) + style.paint("S", "1;7")
                    run = ""
                } else {
                    run += block(coverage.level(of: cell, steps: 8))
                }
            }
            lines.append(line + style.paint(run, codes))
        }
        return lines
    }

    /// Nothing is drawn as a dot where there is no colour to show where a strip ends.
    private func block(_ level: Int) -> String {
        ["\(style.isOn ? " " : "·")", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"][level]
    }

    /// Bright enough on dark, dark enough on light, and apart for colour-blind eyes.
    private func colour(_ kind: GroupKind) -> String {
        switch kind {
        case .data: "38;5;39"
        case .metadata: "38;5;208"
        case .system: "38;5;176"
        case .mixed: "38;5;36"
        }
    }

    private func blanks(_ count: Int) -> String { String(repeating: " ", count: max(0, count)) }
    private func left(_ text: String, _ width: Int) -> String { text + blanks(width - text.count) }
    private func right(_ text: String, _ width: Int) -> String { blanks(width - text.count) + text }
}
