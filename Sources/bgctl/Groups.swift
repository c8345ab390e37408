//===-- Groups.swift - bgctl groups: one line for each block group --------------------------------===//

import ArgumentParser
import BGDevices
import BGDiskFormat
import BlockGroups

struct Groups: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Lists the block groups: place, type, how full, how fragmented.",
        discussion: """
            "largest" is the longest free run, "runs" how many there are. What is neither used nor \
            free is kept for copies of the super block.
            """
    )

    @OptionGroup var source: SourceOptions
    @OptionGroup var options: ImageOptions

    func run() throws {
        let image = try Image(options, source: source.source)
        image.learn()
        let totals = Totals.byType(of: image)
        if options.json { try writeJSON(image, totals) } else { try writeText(image, totals) }
        try image.failIfIncomplete()
    }

    private func writeText(_ image: Image, _ totals: [Totals]) throws {
        var output = Output()
        let style = Style(isOn: Terminal.hasColour)
        var table = Table([
            ("start", .right), ("length", .right), ("type|profile", .left), ("used", .right),
            ("free", .right), ("largest", .right), ("runs", .right), ("fill", .left), ("", .right),
        ])
        for group in image.groups {
            let numbers = group.statistics
            let isKnown = group.failure == nil
            table.add([
                String(group.logical), sizeText(group.length), group.words,
                sizeText(group.record.used),
                isKnown ? sizeText(numbers.freeBytes) : "unreadable",
                isKnown ? sizeText(numbers.largestRun) : "-",
                isKnown ? grouped(numbers.runCount) : "-",
                bar(group.record.used, of: group.length, cells: 12),
                percentText(group.record.used, of: group.length),
            ])
        }
        table.write(to: &output, style: style)
        output.line()
        var sums = Table([
            ("total", .left), ("groups", .right), ("length", .right), ("used", .right),
            ("free", .right), ("largest", .right), ("runs", .right), ("fill", .left), ("", .right),
        ])
        for total in totals {
            sums.add([
                total.words, String(total.groups), sizeText(total.length), sizeText(total.used),
                sizeText(total.free), sizeText(total.largestRun), grouped(total.runs),
                bar(total.used, of: total.length, cells: 12),
                percentText(total.used, of: total.length),
            ])
        }
        sums.write(to: &output, style: style)
        try output.flush()
    }

    private func writeJSON(_ image: Image, _ totals: [Totals]) throws {
        var json = JSONWriter()
        json.object { json in
            json.list("block_groups") { json in
                for group in image.groups {
                    let numbers = group.statistics
                    json.object { json in
                        json.field("start", group.logical)
                        json.field("length", group.length)
                        json.field("flags", group.words)
                        json.field("used", group.record.used)
                        if let failure = group.failure {
                            json.field("error", failure)
                        } else {
                            json.field("free", numbers.freeBytes)
                            json.field("largest_run", numbers.largestRun)
                            json.field("run_count", numbers.runCount)
                        }
                        json.field("super_bytes", group.group.superBytes)
                    }
                }
            }
            json.list("totals") { json in
                for total in totals {
                    json.object { json in
                        json.field("flags", total.words)
                        json.field("groups", total.groups)
                        json.field("length", total.length)
                        json.field("used", total.used)
                        json.field("free", total.free)
                        json.field("largest_run", total.largestRun)
                        json.field("run_count", total.runs)
                    }
                }
            }
        }
        try json.end()
    }
}

/// Sums over the groups of one type and profile, bytes.
struct Totals {
    let flags: BlockGroupFlags
    var groups = 0
    var length: UInt64 = 0
    var used: UInt64 = 0
    var free: UInt64 = 0
    var largestRun: UInt64 = 0
    var runs: UInt64 = 0
    var superBytes: UInt64 = 0

    var words: String { flags.words }

    /// In the order in which the types first appear. Free space counts where it was learnt.
    static func byType(of image: Image) -> [Totals] {
        var totals: [Totals] = []
        for group in image.groups {
            let numbers = group.statistics
            let index = position(of: group.group.flags, in: &totals)
            totals[index].add(group.record)
            guard group.failure == nil else { continue }
            totals[index].free += numbers.freeBytes
            totals[index].runs += numbers.runCount
            totals[index].largestRun = max(totals[index].largestRun, numbers.largestRun)
        }
        return totals
    }

    /// The same without free space, for an image whose groups were not read.
    static func byType(of records: [BlockGroupRecord]) -> [Totals] {
        var totals: [Totals] = []
        for record in records {
            let flags = BlockGroupFlags(rawValue: record.flags.rawValue)
            totals[position(of: flags, in: &totals)].add(record)
        }
        return totals
    }

    private static func position(of flags: BlockGroupFlags, in totals: inout [Totals]) -> Int {
        if let index = totals.firstIndex(where: { $0.flags == flags }) { return index }
        totals.append(Totals(flags: flags))
        return totals.count - 1
    }

    private mutating func add(_ record: BlockGroupRecord) {
        groups += 1
        length += record.length
        used += record.used
        superBytes += record.superBlockCopies.reduce(0) { $0 + $1.length }
    }
}
