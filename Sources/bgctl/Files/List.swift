//===-- List.swift - bgctl ls: what is in a directory ---------------------------------------------===//

import ArgumentParser
import BGDiskFormat
import BlockGroups
import Glibc

struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls",
        abstract: "Lists a directory, or one file.",
        usage: "bgctl ls [--long] [--json] <image> ... </path>",
        discussion: """
            One name a line, sorted by its bytes. The image is only read. With --long: kind and \
            mode, links, owner, group, bytes (of a device file its numbers), time of the last change \
            in UTC, name. Subvolumes are marked, and not entered. Characters that a terminal would obey \
            are not printed; --json has names as they are, and in hexadecimal those that are no UTF-8.
            """
    )

    @Flag(name: [.customShort("l"), .long], help: "Show mode, links, owner, size and time too.")
    var long = false

    @Flag(help: "Print JSON, always with everything.")
    var json = false

    @Argument(help: imagesAnd("</path>", then: "what to list"), completion: .file())
    var words: [String] = []

    func run() throws {
        let (images, path) = try splitImagesAndPath(words)
        let filesystem = try openFilesystem(images, readOnly: true)
        do {
            let lines = try read(path, in: filesystem)
            if json { try writeJSON(lines) } else { try writeText(lines) }
        } catch {
            throw failure(error, images)
        }
    }

    /// A name and what is behind it.
    private struct Line {
        let name: [UInt8]
        let isSubvolume: Bool
        /// Of a subvolume's entry, and where nothing more than the name was asked for, nil.
        let metadata: FileMetadata?
        let target: [UInt8]?
    }

    private func read(_ path: FilePath, in filesystem: Filesystem) throws -> [Line] {
        let metadata = try about(path) { () throws(FilesystemError) in
            try filesystem.metadata(of: path)
        }
        guard metadata.kind == .directory else {
            return [try line(path, path.bytes, metadata, in: filesystem)]
        }
        let found = try entries(of: path, in: filesystem)
        return try found.sorted { $0.name.lexicographicallyPrecedes($1.name) }.map { entry in
            let inner = path.appending(entry.name)
            guard long || json, !entry.isSubvolume else {
                return Line(
                    name: entry.name,
                    isSubvolume: entry.isSubvolume,
                    metadata: nil,
                    target: nil
                )
            }
            let metadata = try about(inner) { () throws(FilesystemError) in
                try filesystem.metadata(of: inner)
            }
            return try line(inner, entry.name, metadata, in: filesystem)
        }
    }

    private func line(
        _ path: FilePath,
        _ name: [UInt8],
        _ metadata: FileMetadata,
        in filesystem: Filesystem
    ) throws -> Line {
        var target: [UInt8]?
        if metadata.kind == .symbolicLink {
            target = try about(path) { () throws(FilesystemError) in
                try filesystem.symbolicLinkTarget(of: path)
            }
        }
        return Line(name: name, isSubvolume: false, metadata: metadata, target: target)
    }

    private func writeText(_ lines: [Line]) throws {
        var output = Output()
        guard long else {
            for line in lines { output.line(shown(line.name)) }
            return try output.flush()
        }
        var table = Table([
            ("mode", .left), ("links", .right), ("owner", .right), ("group", .right),
            ("bytes", .right), ("changed", .left), ("name", .left),
        ])
        for line in lines {
            guard let metadata = line.metadata else {
                table.add(["subvolume", "-", "-", "-", "-", "-", shown(line.name)])
                continue
            }
            let target = line.target.map { " -> " + shown($0) } ?? ""
            table.add([
                modeText(metadata), String(metadata.linkCount), String(metadata.owner),
                String(metadata.group), sizeOrDevice(metadata),
                timeText(metadata.modificationTime), shown(line.name) + target,
            ])
        }
        table.write(to: &output, style: Style(isOn: Terminal.hasColour))
        try output.flush()
    }

    private func writeJSON(_ lines: [Line]) throws {
        var json = JSONWriter()
        json.object { json in
            json.list("entries") { json in
                for line in lines {
                    json.object { json in
                        write("name", line.name, &json)
                        json.field("is_subvolume", line.isSubvolume)
                        guard let metadata = line.metadata else { return }
                        json.field("inode", metadata.inode)
                        json.field("mode", UInt64(metadata.kind.modeBits | metadata.permissions))
                        json.field("links", UInt64(metadata.linkCount))
                        json.field("owner", UInt64(metadata.owner))
                        json.field("group", UInt64(metadata.group))
                        json.field("size", metadata.size)
                        json.field("allocated_bytes", metadata.allocatedBytes)
                        json.field("modified", Int(metadata.modificationTime.seconds))
                        if metadata.kind.isDevice {
                            json.field("device_major", metadata.deviceMajor)
                            json.field("device_minor", metadata.deviceMinor)
                        }
                        if let target = line.target { write("target", target, &json) }
                    }
                }
            }
        }
        try json.end()
    }
}

/// Text from the image; bytes that are no UTF-8 also in hexadecimal, since the text has lost them.
private func write(_ field: String, _ bytes: [UInt8], _ json: inout JSONWriter) {
    json.field(field, String(decoding: bytes, as: UTF8.self))
    guard String(validating: bytes, as: UTF8.self) == nil else { return }
    let digits = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
    json.field(field + "_hex", digits.joined())
}

extension FileKind {
    fileprivate var isDevice: Bool { self == .characterDevice || self == .blockDevice }
}

extension FileMetadata {
    /// Of a device file.
    var deviceMajor: UInt64 { device >> 20 }
    var deviceMinor: UInt64 { device & 0xfffff }
}

/// A device file has numbers where others have a size.
private func sizeOrDevice(_ metadata: FileMetadata) -> String {
    metadata.kind.isDevice
        ? "\(metadata.deviceMajor), \(metadata.deviceMinor)" : String(metadata.size)
}

/// Kind and permissions as ls shows them, such as `-rw-r--r--`.
func modeText(_ metadata: FileMetadata) -> String {
    let kind =
        switch metadata.kind {
        case .regular: "-"
        case .directory: "d"
        case .characterDevice: "c"
        case .blockDevice: "b"
        case .fifo: "p"
        case .socket: "s"
        case .symbolicLink: "l"
        }
    let mode = metadata.permissions
    var text = kind
    for (index, special) in ["s", "s", "t"].enumerated() {
        let bits = mode >> UInt32(6 - 3 * index)
        let isSpecial = mode >> UInt32(11 - index) & 1 != 0
        text += bits & 4 != 0 ? "r" : "-"
        text += bits & 2 != 0 ? "w" : "-"
        let executes = bits & 1 != 0
        text += isSpecial ? (executes ? special : special.uppercased()) : executes ? "x" : "-"
    }
    return text
}

/// A time in UTC, to the second.
func timeText(_ time: FileTime) -> String {
    var seconds = time_t(time.seconds)
    var parts = unsafe tm()
    guard unsafe gmtime_r(&seconds, &parts) != nil else { return "\(time.seconds)" }
    let numbers = unsafe [
        parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
    ].map { padded(Int($0), 2) }
    let year = unsafe Int(parts.tm_year) + 1900
    return "\(year)-\(numbers[0])-\(numbers[1]) " + numbers[2...].joined(separator: ":")
}
