//===-- SVGMap.swift - the map as a picture for a page --------------------------------------------===//
// Title, totals by type, then every group as a strip: colour is used, pale is free, and shades stand
// for what is finer than a pixel. A strip's cost is bounded by its pixels, not by the group's runs.
//
// Layout: up to `rowsMax` groups have a row each, with figures beside it; more share rows in columns.
// All lengths are in pixels of a canvas `width` wide; strips are to the scale of the longest group,
// but never narrower than a least width, so that a tiny group can be seen and pointed at.

import BGDiskFormat
import BlockGroups

/// Draws block groups as SVG.
struct SVGMap {
    private static let width = 1200
    private static let margin = 40
    private static let rowsMax = 40
    /// Shades between used and free.
    private static let shades = 8

    private let image: Image
    private let totals: [Totals]
    private var body = ""

    init(_ image: Image) {
        self.image = image
        totals = Totals.byType(of: image)
    }

    /// The whole document.
    func text() -> String {
        var copy = self
        let height = copy.draw()
        let title = escape("Block groups of " + image.title)
        return """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(SVGMap.width)" height="\(height)" \
            viewBox="0 0 \(SVGMap.width) \(height)" role="img" aria-label="\(title)">
            <title>\(title)</title>
            <style>\(SVGMap.styles)</style>
            <rect width="100%" height="100%" fill="#fff"/>
            \(copy.body)</svg>

            """
    }

    /// Okabe and Ito's palette: apart for all eyes, and different in lightness too.
    private static let styles = """
        text{font:13px system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#1f2933}\
        .h{font-size:24px;font-weight:600}.m{fill:#5f6c7b}.s{font-size:11px;fill:#5f6c7b}\
        .b{font-weight:600;fill:#1f2933}.mid{text-anchor:middle}.e{text-anchor:end}.n{font-variant-numeric:tabular-nums}\
        .data{fill:#0072b2}.metadata{fill:#d55e00}.system{fill:#9d4f86}.mixed{fill:#00805c}\
        .free{fill:#fff}.back{fill:#e9edf1}.line{fill:none;stroke:#8794a3;stroke-width:.75}\
        .super{fill:#111}.bad{fill:#b00020}
        """

    private mutating func draw() -> Int {
        var y = drawHeader()
        y = drawTotals(from: y)
        y = drawLegend(from: y)
        y = image.groups.count <= SVGMap.rowsMax ? drawRows(from: y) : drawColumns(from: y)
        return y + SVGMap.margin / 2
    }

    // MARK: Above the groups

    private mutating func drawHeader() -> Int {
        let used = totals.reduce(0) { $0 + $1.used }
        let length = totals.reduce(0) { $0 + $1.length }
        let free = totals.reduce(0) { $0 + $1.free }
        write(image.title, SVGMap.margin, 54, "h")
        write(
            "\(sizeText(image.superBlock.totalBytes)) on "
                + counted(image.superBlock.deviceCount, "device")
                + ", \(sizeText(length)) in \(counted(UInt64(image.groups.count), "block group")): "
                + "\(sizeText(used)) used, \(sizeText(free)) free",
            SVGMap.margin,
            80,
            "m"
        )
        write(image.superBlock.fsid.text, SVGMap.width - SVGMap.margin, 54, "s e n")
        write(
            "generation \(image.superBlock.generation)",
            SVGMap.width - SVGMap.margin,
            72,
            "s e n"
        )
        return 104
    }

    /// A bar for each type and profile.
    private mutating func drawTotals(from top: Int) -> Int {
        var y = top
        // About 9 pixels a character of the bold names.
        let names = totals.map { $0.words.count * 9 }.max() ?? 0
        let left = SVGMap.margin + max(136, names) + 14
        let barWidth = 400
        for total in totals {
            let kind = name(of: total.flags)
            write(total.words, SVGMap.margin, y + 13, "b")
            rect(left, y + 1, barWidth, 15, "back", round: 3)
            let share = Double(total.used) / Double(max(total.length, 1))
            let filled = max(total.used > 0 ? 2 : 0, Int((share * Double(barWidth)).rounded()))
            if filled > 0 { rect(left, y + 1, filled, 15, kind, round: 3) }
            write(
                percentText(total.used, of: total.length),
                left + barWidth + 56,
                y + 13,
                "b e n"
            )
            write(
                "\(sizeText(total.used)) of \(sizeText(total.length)) in "
                    + counted(UInt64(total.groups), "group") + ", "
                    + (total.runs > 0
                        ? "\(counted(total.runs, "free run")), the largest "
                            + sizeText(total.largestRun) : "no free run"),
                left + barWidth + 72,
                y + 13,
                "m n"
            )
            y += 25
        }
        return y + 10
    }

    private mutating func drawLegend(from top: Int) -> Int {
        let y = top + 8
        var x = SVGMap.margin
        body += "<path class=\"line\" d=\"M\(x) \(top)H\(SVGMap.width - x)\"/>\n"
        for kind in image.kinds {
            rect(x, y + 8, 14, 14, className(kind), round: 2)
            write(kind.name, x + 21, y + 20)
            x += 40 + kind.name.count * 7
        }
        pale(x, y + 8, 14, SVGMap.shades)
        rect(x, y + 8, 14, 14, "line")
        write("free", x + 21, y + 20)
        x += 72
        for step in 0...SVGMap.shades {
            pale(x + step * 10, y + 8, 10, step)
        }
        rect(x, y + 8, 10 * (SVGMap.shades + 1), 14, "line")
        write("partly free, finer than a pixel", x + 10 * (SVGMap.shades + 1) + 8, y + 20)
        x += 10 * (SVGMap.shades + 1) + 8 + 220
        superMark(x + 4, y + 8, 14)
        write("copy of the super block", x + 16, y + 20)
        return y + 44
    }

    /// A piece of the legend in the colour of the first kind, `shade` parts of it free.
    private mutating func pale(_ x: Int, _ y: Int, _ width: Int, _ shade: Int) {
        rect(x, y, width, 14, image.kinds.first.map(className) ?? "back")
        guard shade > 0 else { return }
        body += "<rect class=\"free\" opacity=\"\(opacity(shade))\" x=\"\(x)\" y=\"\(y)\" "
        body += "width=\"\(width)\" height=\"14\"/>\n"
    }

    // MARK: The groups

    private var lengthMax: UInt64 { image.groups.map(\.length).max() ?? 1 }

    /// Pixels of a strip when the longest has `full`.
    private func stripWidth(_ group: ImageGroup, full: Int, least: Int) -> Int {
        let share = Double(group.length) / Double(max(lengthMax, 1))
        return max(least, Int((share * Double(full)).rounded()))
    }

    private mutating func drawRows(from top: Int) -> Int {
        var y = top
        let least = 60
        // About 7.5 pixels a character of the bold names.
        let names = image.groups.map { $0.words.count * 15 / 2 }.max() ?? 0
        let left = SVGMap.margin + 92 + max(90, names) + 16
        let full = SVGMap.width - left - SVGMap.margin - 150
        let right = SVGMap.width - SVGMap.margin
        write("starts at", SVGMap.margin + 80, y + 4, "s e")
        write("type, length", SVGMap.margin + 92, y + 4, "s")
        write("used, and free", right, y + 4, "s e")
        y += 14
        for group in image.groups {
            let numbers = group.statistics
            write(sizeText(group.logical), SVGMap.margin + 80, y + 13, "m e n")
            write(group.words, SVGMap.margin + 92, y + 11, "s b")
            write(sizeText(group.length), SVGMap.margin + 92, y + 25, "s n")
            strip(group, left, y, stripWidth(group, full: full, least: least), 28)
            write(percentText(group.record.used, of: group.length), right, y + 11, "b e n")
            if group.failure == nil {
                write(
                    "\(sizeText(numbers.freeBytes)) in \(counted(numbers.runCount, "run"))",
                    right,
                    y + 26,
                    "s e n"
                )
            }
            y += 42
        }
        return drawFootnote(from: y, least: least)
    }

    private mutating func drawColumns(from top: Int) -> Int {
        let columns = image.groups.count <= 120 ? 3 : image.groups.count <= 600 ? 4 : 8
        let isDense = columns > 4
        let gap = isDense ? 12 : 20
        let room = SVGMap.width - 2 * SVGMap.margin + gap
        let cell = room / columns
        let rows = (image.groups.count + columns - 1) / columns
        let pitch = isDense ? 28 : 38
        let least = isDense ? 8 : 24
        for (index, group) in image.groups.enumerated() {
            // Down each column first, so that neighbours in address are neighbours in sight.
            let x = SVGMap.margin + index / rows * cell
            let y = top + index % rows * pitch
            let share = percentText(group.record.used, of: group.length)
            write(sizeText(group.logical), x, y + 10, "s n")
            if !isDense {
                let middle = x + (cell - gap) / 2
                write("\(group.words), \(sizeText(group.length))", middle, y + 10, "s mid")
            }
            write(share, x + cell - gap, y + 10, "s e n")
            let width = stripWidth(group, full: cell - gap, least: least)
            strip(group, x, y + 15, width, isDense ? 8 : 14)
        }
        return drawFootnote(from: top + rows * pitch + 4, least: least)
    }

    private mutating func drawFootnote(from top: Int, least: Int) -> Int {
        write(
            "Each strip is a block group, from its first byte to its last; the longest is "
                + "\(sizeText(lengthMax)). Addresses are logical. Shorter groups are drawn to the "
                + "same scale, but at least \(least) pixels wide.",
            SVGMap.margin,
            top + 12,
            "s"
        )
        return top + 20
    }

    /// The strip itself: all used, then what is free on top.
    private mutating func strip(
        _ group: ImageGroup,
        _ x: Int,
        _ y: Int,
        _ width: Int,
        _ height: Int
    ) {
        guard group.failure == nil else {
            rect(x, y, width, height, "back", round: 2)
            write("unreadable", x + 6, y + height / 2 + 5, "s bad")
            return
        }
        let coverage = Coverage(group, cells: width)
        body += "<g><title>\(tooltip(group))</title>"
        rect(x, y, width, height, name(of: group.group.flags))
        var paths = [String](repeating: "", count: SVGMap.shades + 1)
        var start = 0
        while start < coverage.count {
            let shade = SVGMap.shades - coverage.level(of: start, steps: SVGMap.shades)
            var end = start + 1
            while end < coverage.count,
                SVGMap.shades - coverage.level(of: end, steps: SVGMap.shades) == shade
            { end += 1 }
            paths[shade] += "M\(x + start) \(y)h\(end - start)v\(height)h-\(end - start)z"
            start = end
        }
        for shade in 1...SVGMap.shades where !paths[shade].isEmpty {
            body += "<path class=\"free\" opacity=\"\(opacity(shade))\" d=\"\(paths[shade])\"/>"
        }
        rect(x, y, width, height, "line")
        var last = -4
        for cell in 0..<coverage.count where coverage.hasSuperBlock[cell] {
            // One mark for copies whose marks would run into each other.
            if cell - last >= 4 { superMark(x + cell, y, height) }
            last = cell
        }
        body += "</g>\n"
    }

    /// A copy of the super block: a black line with a head, wider than it is to scale.
    private mutating func superMark(_ x: Int, _ y: Int, _ height: Int) {
        body += "<path class=\"super\" "
        body += "d=\"M\(x - 3) \(y - 2)h7l-2.5 3v\(height - 1)h-2v-\(height - 1)z\"/>"
    }

    private func tooltip(_ group: ImageGroup) -> String {
        let numbers = group.statistics
        return escape(
            "\(group.words) at \(group.logical), \(sizeText(group.length)): "
                + "\(sizeText(group.record.used)) used, \(sizeText(numbers.freeBytes)) free in "
                + "\(counted(numbers.runCount, "run")), the largest \(sizeText(numbers.largestRun))"
        )
    }

    // MARK: Elements

    private mutating func rect(
        _ x: Int,
        _ y: Int,
        _ width: Int,
        _ height: Int,
        _ names: String,
        round: Int = 0
    ) {
        let corner = round > 0 ? " rx=\"\(round)\"" : ""
        body += "<rect class=\"\(names)\" x=\"\(x)\" y=\"\(y)\" width=\"\(width)\" "
        body += "height=\"\(height)\"\(corner)/>\n"
    }

    private mutating func write(_ text: String, _ x: Int, _ y: Int, _ names: String = "") {
        let attribute = names.isEmpty ? "" : " class=\"\(names)\""
        body += "<text x=\"\(x)\" y=\"\(y)\"\(attribute)>\(escape(text))</text>\n"
    }

    private func opacity(_ shade: Int) -> String {
        decimal(Double(shade) / Double(SVGMap.shades) * 0.92, 2)
    }

    private func name(of flags: BlockGroupFlags) -> String { className(GroupKind(flags)) }

    private func className(_ kind: GroupKind) -> String {
        switch kind {
        case .data: "data"
        case .metadata: "metadata"
        case .system: "system"
        case .mixed: "mixed"
        }
    }

    private func escape(_ text: String) -> String {
        var escaped = ""
        for character in printable(text).unicodeScalars {
            switch character {
            case "&": escaped += "&amp;"
            case "<": escaped += "&lt;"
            case ">": escaped += "&gt;"
            case "\"": escaped += "&quot;"
            case "\u{fffe}", "\u{ffff}": escaped += "\u{fffd}"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}
