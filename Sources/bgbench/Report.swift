//===-- Report.swift - the table on the terminal and the JSON file ----------------------------===//
// One block per workload (and number of threads), one line per competitor. The last column is the
// ratio of the first competitor present, ours where it can run, to the one of the line: above 1
// means that the first one is that many times better.

import Foundation

struct Report {
    let measurements: [BenchmarkResult]

    /// One column: its head, and its cell for a measurement, nil where there is none.
    private typealias Column = (head: String, cell: @Sendable (BenchmarkResult) -> String?)

    private static let columns: [Column] = [
        ("ns/op", { $0.nsPerOp.map { decimal($0, 1) } }),
        (
            "fastest..slowest",
            { m in
                m.nsPerOpMin.flatMap { low in
                    m.nsPerOpMax.map { decimal(low, 1) + ".." + decimal($0, 1) }
                }
            }
        ),
        ("M/s", { $0.mops.map { decimal($0, 3) } }),
        ("miss/1000", { $0.missesPer1000.map { decimal($0, 2) } }),
        ("free extents", { $0.freeExtents.map { "\($0)" } }),
        ("largest MiB", { $0.largestRunBytes.map { decimal(Double($0) / 1048576, 1) } }),
        ("full at miss", { $0.firstMissPercent.map { decimal($0, 3) + " %" } }),
        ("B/extent", { $0.bytesPerExtent.map { decimal($0, 2) } }),
        ("ns/extent", { $0.nsPerExtent.map { decimal($0, 1) } }),
        ("B/group", { $0.bytesPerGroup.map { decimal($0, 0) } }),
        (
            "contended",
            { m in
                guard let taken = m.lockTaken, let contended = m.lockContended else { return nil }
                return decimal(100 * Double(contended) / Double(max(taken, 1)), 2) + " %"
            }
        ),
        ("hash", { $0.resultHash.map { String($0.prefix(8)) } }),
    ]

    /// The table, ready to print.
    func text() -> String {
        var blocks: [(name: String, rows: [BenchmarkResult])] = []
        for measurement in measurements {
            var name = measurement.workload
            if name.hasPrefix("W2") || measurement.threads > 1 {
                name += ", \(measurement.threads) thread" + (measurement.threads == 1 ? "" : "s")
            }
            if let i = blocks.firstIndex(where: { $0.name == name }) {
                blocks[i].rows.append(measurement)
            } else {
                blocks.append((name, [measurement]))
            }
        }
        return blocks.map { Report.block($0.name, $0.rows) }.joined(separator: "\n")
    }

    private static func block(_ name: String, _ rows: [BenchmarkResult]) -> String {
        let used = columns.filter { column in rows.contains { column.cell($0) != nil } }
        let base = rows.first { $0.competitor != "null" }
        let hasRatio = rows.count > 1 && base?.score != nil
        var lines: [[String]] = [[name] + used.map { $0.head }]
        if hasRatio, let base { lines[0].append(base.competitor + " is") }
        for row in rows {
            var line = ["  " + row.competitor] + used.map { $0.cell(row) ?? "-" }
            if hasRatio { line.append(ratio(base, row)) }
            lines.append(line)
        }
        let widths = lines[0].indices.map { i in lines.map { $0[i].count }.max() ?? 0 }
        return lines.map { line in
            line.indices.map { i in
                let pad = String(repeating: " ", count: widths[i] - line[i].count)
                return i == 0 ? line[i] + pad : pad + line[i]
            }.joined(separator: "  ") + "\n"
        }.joined()
    }

    private static func ratio(_ base: BenchmarkResult?, _ row: BenchmarkResult) -> String {
        guard let base, let ours = base.score, let theirs = row.score, ours > 0,
            row.competitor != base.competitor, row.competitor != "null"
        else { return "" }
        return decimal(theirs / ours, 2) + "x"
    }

    /// Writes all measurements as JSON; "-" is standard output.
    func writeJSON(to path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        let data = try encoder.encode(measurements) + Data("\n".utf8)
        if path == "-" {
            FileHandle.standardOutput.write(data)
        } else {
            try data.write(to: URL(fileURLWithPath: path))
        }
    }
}

extension BenchmarkResult {
    /// The figure that ratios are made of, smaller being better; nil where there is none.
    var score: Double? {
        if workload.hasPrefix("W2") || workload.hasPrefix("seed") {
            return mops.map { $0 > 0 ? 1 / $0 : 0 }
        }
        return nsPerOp ?? nsPerExtent ?? bytesPerGroup
    }
}

/// A number with so many digits behind the point.
func decimal(_ value: Double, _ digits: Int) -> String {
    String(format: "%.\(digits)f", value)
}
