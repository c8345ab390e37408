//===-- Image.swift - the arguments of every command, and the file system behind them -------------===//
// Opens the images and learns the free space of their groups, with errors that name the file.
//
// A group whose free space cannot be read keeps its error: what a command makes of it is its own
// concern (`free-space` and `claim` refuse, `groups` and `map` show the others and fail at the end).

import ArgumentParser
import BGDevices
import BGDiskFormat
import BlockGroups

/// The images, and the form of the answer.
struct ImageOptions: ParsableArguments {
    @Argument(
        help: ArgumentHelp(
            "Image files or block devices of one file system, in any order.",
            valueName: "image"
        ),
        completion: .file()
    )
    var images: [String]

    @Flag(help: "Print JSON.")
    var json = false
}

/// Where free space is learnt from.
struct SourceOptions: ParsableArguments {
    enum Source: String, ExpressibleByArgument, CaseIterable {
        case auto
        case extents
    }

    @Option(
        help: ArgumentHelp(
            "Where to learn free space from: auto (the free-space tree where it is valid), or "
                + "extents (the extent tree: what no extent holds is free).",
            valueName: "auto|extents"
        )
    )
    var source: Source = .auto
}

/// A group and what it holds.
struct ImageGroup {
    let record: BlockGroupRecord
    let group: BlockGroup
    /// Why its free space is not known.
    let failure: String?
    let statistics: BlockGroupStatistics

    var logical: UInt64 { record.logical }
    var length: UInt64 { record.length }
    var words: String { group.flags.words }

    /// Visits its free runs in order.
    func forEachFree(_ body: (_ logical: UInt64, _ length: UInt64) -> Void) {
        var from = record.logical
        // Ends: each run ends above the one before.
        while from < record.end, let run = group.nextFree(endingAbove: from) {
            body(run.logical, run.length)
            from = run.logical + run.length
        }
    }
}

/// An opened file system.
///
/// Locks: none needed; one thread opens it, any may read.
final class Image {
    /// Ascending by address; empty before `learn()`. Must go before the file system does.
    private(set) var groups: [ImageGroup] = []
    let paths: [String]
    let filesystem: Filesystem
    private let source: SourceOptions.Source

    var reader: FilesystemReader { filesystem.reader }
    var superBlock: SuperBlock { filesystem.reader.superBlock }

    /// Label, or the first path where there is none.
    var title: String {
        let label = String(decoding: superBlock.label, as: UTF8.self)
        return label.isEmpty ? paths[0] : label
    }

    init(_ options: ImageOptions, source: SourceOptions.Source = .auto) throws {
        paths = options.images
        self.source = source
        do throws(FilesystemError) {
            filesystem = try Filesystem(
                paths: paths,
                readOnly: true,
                freeSpace: source == .extents ? .extentTree : .automatic
            )
        } catch {
            throw Failure(describe(error, paths: options.images))
        }
    }

    /// Learns the free space of every group that is wanted.
    func learn(where isWanted: (BlockGroupFlags) -> Bool = { _ in true }) {
        var progress = Progress("reading free space of block groups")
        let records = reader.blockGroups
        for (index, record) in records.enumerated() {
            guard let group = filesystem.allocator.group(at: record.logical),
                isWanted(group.flags)
            else { continue }
            var failure: String?
            do throws(AllocationError) {
                try group.cache()
            } catch {
                failure = "block group \(record.logical): \(reason(for: record, error))"
            }
            groups.append(
                ImageGroup(
                    record: record,
                    group: group,
                    failure: failure,
                    statistics: group.statistics
                )
            )
            progress.report(index + 1, of: records.count)
        }
        progress.end()
    }

    /// The first group's error, where free space must be known to the last byte.
    func requireAll() throws {
        for group in groups {
            if let failure = group.failure { throw Failure(failure) }
        }
    }

    /// Says which groups could not be read, after what could be was shown.
    func failIfIncomplete() throws {
        let failures = groups.compactMap { $0.failure }
        for failure in failures.dropLast() { say("bgctl: " + failure) }
        if let last = failures.last { throw Failure(last) }
    }

    /// The words of what went wrong: the allocator keeps only the number, the reader says it again.
    private func reason(for record: BlockGroupRecord, _ error: AllocationError) -> String {
        do throws(FilesystemError) {
            try reader.freeSpace(
                of: record,
                source: source == .extents ? .extentTree : .automatic
            ) { (_, _) throws(FilesystemError) in }
        } catch {
            return describe(error, paths: paths)
        }
        return error.text.description
    }
}

/// A path as a message names it.
private func quoted(_ path: String) -> String { path.isEmpty ? "''" : path }

/// An error with the path of the device instead of its number.
func describe(_ error: FilesystemError, paths: [String]) -> String {
    var error = error
    var prefix = ""
    if let index = error.deviceIndex, Int(index) < paths.count {
        prefix = quoted(paths[Int(index)]) + ": "
        error.deviceIndex = nil
        // The path says already that it is a device.
        if error.subject.description == "device", error.devid == nil { error.subject = "" }
    } else if error.root == nil, error.subject.description != "volume", paths.count == 1 {
        prefix = quoted(paths[0]) + ": "
    }
    // What a system call said is best said in the system's words.
    if case .notFound = error.code { return prefix + error.message + ": " + errorText(error.errno) }
    var message = error.message
    // So is which other device is meant, by its path.
    let otherNumber = "device \(error.value ?? 0)"
    if error.what.description.hasSuffix(" device %"), let other = error.value,
        other < UInt64(paths.count), message.hasSuffix(otherNumber)
    {
        message = message.dropLast(otherNumber.count) + quoted(paths[Int(other)])
    }
    guard case .system(let number) = error.code else { return prefix + message }
    let suffix = " (errno \(number))"
    let plain = message.hasSuffix(suffix) ? String(message.dropLast(suffix.count)) : message
    return prefix + plain + ": " + errorText(number)
}

extension Image {
    /// Prints `{"block_groups": […]}` with what `write` says of each group.
    func writeGroups(_ write: (ImageGroup, inout JSONWriter) -> Void) throws {
        var json = JSONWriter()
        json.object { json in
            json.list("block_groups") { json in
                for group in groups { write(group, &json) }
            }
        }
        try json.end()
    }
}
