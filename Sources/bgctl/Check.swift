//===-- Check.swift - bgctl check: is everything in order -----------------------------------------===//
// One line for each fault. Exit status 0: none; 1: some; 2: the file system could not be opened, the
// check not be finished, or the command line not be understood.

import ArgumentParser
import BGDiskFormat
import BlockGroups

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Checks every tree, reference, checksum and free-space item.",
        discussion: """
            Prints one line for each fault and changes nothing. Lines that begin with "note:" tell \
            of what is not wrong, such as an older copy of the super block; they do not count.

            Exit status: 0 when there is no fault, 1 when there are some, 2 when the file system \
            could not be opened or not be checked to the end.
            """
    )

    @Flag(help: "Read all data that has checksums, from every copy, and compare.")
    var data = false

    @Flag(help: "Read every copy of every tree block, not only the first good one.")
    var allMirrors = false

    @OptionGroup var options: ImageOptions

    func run() throws {
        let meter = CheckMeter(data: data)
        let list = FaultList(isJSON: options.json)
        let summary: CheckSummary
        do throws(FilesystemError) {
            summary = try Filesystem.check(
                paths: options.images,
                CheckOptions(verifiesData: data, readsAllCopies: allMirrors),
                progress: { meter.show($0) },
                report: { fault in
                    meter.clear()
                    list.add(fault)
                }
            )
        } catch {
            meter.clear()
            say("bgctl: " + describe(error, paths: options.images))
            quit(2)
        }
        meter.clear()
        try list.end(summary)
        if summary.faults > 0 { quit(1) }
        if !summary.isComplete { quit(2) }
    }
}

/// Progress, each phase under its own words.
private final class CheckMeter {
    private var progress: Progress
    private var phase: CheckProgress.Phase?
    private let verifiesData: Bool

    init(data: Bool) {
        verifiesData = data
        progress = Progress("reading trees")
    }

    func show(_ state: CheckProgress) -> Bool {
        if state.phase != phase {
            clear()
            phase = state.phase
            progress = Progress(words(state.phase))
        }
        if state.total > 0 {
            // Data in MiB: nobody counts bytes.
            let unit: UInt64 = state.phase == .data ? 1 << 20 : 1
            progress.report(Int(state.done / unit), of: Int(state.total / unit))
        }
        return true
    }

    func clear() { progress.end() }

    private func words(_ phase: CheckProgress.Phase) -> String {
        switch phase {
        case .tables: "reading trees"
        case .trees: "checking tree blocks"
        case .freeSpace: "checking free space of block groups"
        case .data: "verifying data, MiB"
        }
    }
}

/// Faults as they come, as lines or as JSON.
private final class FaultList {
    private let isJSON: Bool
    private var faults: [CheckFault] = []
    private var shown: UInt64 = 0

    init(isJSON: Bool) { self.isJSON = isJSON }

    func add(_ fault: CheckFault) {
        if isJSON {
            faults.append(fault)
        } else {
            var output = Output()
            output.line(fault.message)
            try? output.flush()
        }
    }

    func end(_ summary: CheckSummary) throws {
        if isJSON { return try writeJSON(summary) }
        var output = Output()
        var text = counted(summary.treeBlocks, "tree block") + ", "
        text += counted(summary.dataExtents, "data extent") + ", "
        text += counted(summary.inodes, "inode")
        if summary.verifiedBytes > 0 { text += ", \(sizeText(summary.verifiedBytes)) of data" }
        text += summary.faults == 0 ? ": no faults" : ": \(counted(summary.faults, "fault"))"
        output.line(text)
        try output.flush()
    }

    private func writeJSON(_ summary: CheckSummary) throws {
        var json = JSONWriter()
        json.object { json in
            json.field("ok", summary.faults == 0)
            json.field("faults", summary.faults)
            json.field("tree_blocks", summary.treeBlocks)
            json.field("data_extents", summary.dataExtents)
            json.field("inodes", summary.inodes)
            json.field("verified_bytes", summary.verifiedBytes)
            json.list("lines") { json in
                for fault in faults { write(fault, &json) }
            }
        }
        try json.end()
    }

    private func write(_ fault: CheckFault, _ json: inout JSONWriter) {
        json.object { json in
            json.field("kind", fault.kind.words.description)
            json.field("is_remark", fault.isRemark)
            json.field("message", fault.message)
            if let root = fault.error.root { json.field("root", root) }
            if let inode = fault.inode { json.field("inode", inode) }
            if let logical = fault.error.logical { json.field("logical", logical) }
            if let slot = fault.error.slot { json.field("slot", UInt64(slot)) }
            if let devid = fault.error.devid { json.field("devid", devid) }
            if let physical = fault.error.physical { json.field("physical", physical) }
        }
    }
}
