//===-- Text.swift - sizes, numbers and tables that people can read -------------------------------===//

/// Bytes in the largest binary unit that keeps the number at 1 or above; two decimals at most, cut
/// and not rounded up: 1023.99 MiB never reads 1 GiB.
func sizeText(_ bytes: UInt64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var unit = 0
    var scale: UInt64 = 1
    while unit < 6, bytes / scale >= 1024 {
        unit += 1
        scale <<= 10
    }
    let whole = bytes / scale
    let hundredths = unit == 0 ? 0 : min(99, Int(Double(bytes % scale) / Double(scale) * 100))
    var text = "\(whole)"
    if hundredths > 0, whole < 1000 {
        text += hundredths % 10 == 0 ? ".\(hundredths / 10)" : "." + padded(hundredths, 2)
    }
    return text + (unit == 0 && bytes == 1 ? " byte" : " " + units[unit])
}

/// A number in groups of three digits.
func grouped(_ number: UInt64) -> String {
    let digits = Array(String(number))
    var text = ""
    for (index, digit) in digits.enumerated() {
        if index > 0, (digits.count - index) % 3 == 0 { text.append(" ") }
        text.append(digit)
    }
    return text
}

/// `count` things, such as "1 run" or "7 runs".
func counted(_ count: UInt64, _ one: String, _ many: String? = nil) -> String {
    "\(grouped(count)) \(count == 1 ? one : many ?? one + "s")"
}

/// Decimal digits with zeros in front.
func padded(_ number: Int, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.count)) + digits
}

/// A number with `places` decimals, rounded.
func decimal(_ number: Double, _ places: Int) -> String {
    var scale = 1.0
    for _ in 0..<places { scale *= 10 }
    guard number.isFinite, abs(number) < 9e18 / scale else { return "-" }
    let scaled = Int((abs(number) * scale).rounded())
    let sign = number < 0 && scaled > 0 ? "-" : ""
    if places == 0 { return sign + String(scaled) }
    return sign + "\(scaled / Int(scale))." + padded(scaled % Int(scale), places)
}

/// The share of `part` in `whole` as "42.0 %"; only exactly all of it reads 100 %, only nothing 0 %.
func percentText(_ part: UInt64, of whole: UInt64) -> String {
    guard whole > 0 else { return "-" }
    if part == whole { return "100 %" }
    if part == 0 { return "0 %" }
    let tenths = min(max(Int(Double(part) / Double(whole) * 1000), 1), 999)
    return "\(tenths / 10).\(tenths % 10) %"
}

/// A bar of `cells` characters that is filled by the share of `part` in `whole`, to an eighth.
func bar(_ part: UInt64, of whole: UInt64, cells: Int) -> String {
    let share = whole == 0 ? 0 : min(1, Double(part) / Double(whole))
    var eighths = Int((share * Double(cells * 8)).rounded())
    if part > 0 { eighths = max(1, eighths) }
    if part < whole { eighths = min(cells * 8 - 1, eighths) }
    let parts = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
    let full = String(repeating: "█", count: eighths / 8) + parts[eighths % 8]
    return full + String(repeating: "·", count: cells - (eighths + 7) / 8)
}

/// Text from an image without what a terminal would obey.
func printable(_ text: String) -> String {
    var clean = ""
    for scalar in text.unicodeScalars {
        let isControl = scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
        clean.unicodeScalars.append(isControl ? "\u{fffd}" : scalar)
    }
    return clean
}

/// Text in columns as wide as their widest cell.
struct Table {
    enum Alignment { case left, right }

    private let alignments: [Alignment]
    private var rows: [[String]]

    /// - Parameter columns: heading and alignment of each.
    init(_ columns: [(String, Alignment)]) {
        alignments = columns.map { $0.1 }
        rows = [columns.map { $0.0 }]
    }

    mutating func add(_ cells: [String]) { rows.append(cells) }

    /// - Parameter indent: blanks in front of each line.
    func write(to output: inout Output, style: Style, indent: Int = 0) {
        var widths = [Int](repeating: 0, count: alignments.count)
        for row in rows {
            for (column, cell) in row.enumerated() {
                widths[column] = max(widths[column], cell.count)
            }
        }
        for (number, row) in rows.enumerated() {
            var line = String(repeating: " ", count: indent)
            for (column, cell) in row.enumerated() {
                let blanks = String(repeating: " ", count: widths[column] - cell.count)
                line += alignments[column] == .right ? blanks + cell : cell + blanks
                line += "  "
            }
            while line.last == " " { line.removeLast() }
            output.line(number == 0 ? style.bold(line) : line)
        }
    }
}
