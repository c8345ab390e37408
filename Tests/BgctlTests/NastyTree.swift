// A tree with everything in it that copying gets wrong, and a picture of a tree to compare by.

import BGTestSupport
import Foundation

@testable import bgctl

/// What a comparison looks at; directories' own sizes and link counts are their file system's affair.
struct TreeEntry: Equatable {
    var mode: UInt32
    var owner: UInt32
    var group: UInt32
    var seconds: Int
    var nanoseconds: Int
    var device: UInt64 = 0
    var size: Int64 = 0
    /// Of a regular file.
    var contents: [UInt8] = []
    /// Bytes that are allocated, in units that file systems agree on: none, some, or nearly all.
    var isSparse = false
    var target: [UInt8] = []
    var attributes: [[UInt8]: [UInt8]] = [:]
    /// All names of the same inode.
    var names: Set<[UInt8]> = []
}

/// Every entry of the tree at `path` by its path in there; the top is "".
func picture(_ path: String) throws -> [[UInt8]: TreeEntry] {
    var entries: [[UInt8]: TreeEntry] = [:]
    var inodes: [UInt64: Set<[UInt8]>] = [:]
    var numbers: [[UInt8]: UInt64] = [:]
    func visit(_ bytes: [UInt8], _ relative: [UInt8]) throws {
        var status = stat()
        guard withPath(bytes, { lstat($0, &status) }) == 0 else {
            throw ToolFailure(description: "lstat \(shown(bytes)): errno \(errno)")
        }
        var entry = TreeEntry(
            mode: status.st_mode,
            owner: status.st_uid,
            group: status.st_gid,
            seconds: status.st_mtim.tv_sec,
            nanoseconds: status.st_mtim.tv_nsec
        )
        let source = HostAttributes.at(path: bytes)
        for name in source.names { entry.attributes[name] = source.value(of: name) }
        switch status.st_mode & S_IFMT {
        case S_IFDIR:
            for name in try list(bytes) {
                try visit(bytes + [0x2f] + name, relative + [0x2f] + name)
            }
        case S_IFREG:
            entry.size = Int64(status.st_size)
            entry.contents = try readFile(bytes, Int(status.st_size))
            entry.isSparse = Int64(status.st_blocks) * 512 + 65536 < entry.size
        case S_IFLNK:
            var target = [CChar](repeating: 0, count: 4097)
            let count = withPath(bytes) { readlink($0, &target, 4096) }
            entry.target = target[..<max(count, 0)].map { UInt8(bitPattern: $0) }
        default: entry.device = UInt64(status.st_rdev)
        }
        if status.st_mode & S_IFMT != S_IFDIR {
            inodes[UInt64(status.st_ino), default: []].insert(relative)
            numbers[relative] = UInt64(status.st_ino)
        }
        entries[relative] = entry
    }
    try visit([UInt8](path.utf8), [])
    for (name, number) in numbers { entries[name]?.names = inodes[number] ?? [] }
    return entries
}

private func list(_ path: [UInt8]) throws -> [[UInt8]] {
    guard let folder = withPath(path, { opendir($0) }) else {
        throw ToolFailure(description: "opendir \(shown(path)): errno \(errno)")
    }
    defer { closedir(folder) }
    var names: [[UInt8]] = []
    while let entry = readdir(folder) {
        let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
            [UInt8](bytes.prefix { $0 != 0 })
        }
        if name != [0x2e], name != [0x2e, 0x2e] { names.append(name) }
    }
    return names
}

private func readFile(_ path: [UInt8], _ size: Int) throws -> [UInt8] {
    let file = withPath(path) { open($0, O_RDONLY) }
    guard file >= 0 else { throw ToolFailure(description: "open \(shown(path)): errno \(errno)") }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: size)
    let count = read(file, &bytes, size)
    guard count == size else { throw ToolFailure(description: "read \(shown(path)): \(count)") }
    return bytes
}

/// Makes the tree in a new folder at `path`.
struct NastyTree {
    private let path: String
    private var random: SeededGenerator

    /// Names whose crc32c is the same: they share a directory item.
    static let colliding = ["ccaoacux", "wcjifoae", "mxwslzkr", "pnnmgjjg"]

    @discardableResult
    init(_ path: String, _ random: SeededGenerator) throws {
        self.path = path
        self.random = random
        try makeFolder("")
        try makeSizes()
        try makeNames()
        try makeLinks()
        try makeHoles()
        try makeModes()
        try setTimes()
    }

    private func bytes(_ name: String) -> [UInt8] { [UInt8]((path + "/" + name).utf8) }

    private func makeFolder(_ name: String) throws {
        try check(withPath(bytes(name)) { mkdir($0, 0o755) }, name)
    }

    private func check(_ result: CInt, _ name: String) throws {
        guard result == 0 else { throw ToolFailure(description: "\(name): errno \(errno)") }
    }

    private func write(_ contents: [UInt8], _ name: [UInt8], at offset: Int = 0) throws {
        let file = withPath([UInt8](path.utf8) + [0x2f] + name) {
            open($0, O_WRONLY | O_CREAT, 0o644)
        }
        guard file >= 0 else { throw ToolFailure(description: "\(shown(name)): errno \(errno)") }
        defer { close(file) }
        guard pwrite(file, contents, contents.count, off_t(offset)) == contents.count else {
            throw ToolFailure(description: "\(shown(name)): errno \(errno)")
        }
    }

    private mutating func someBytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    // MARK: what is in it

    /// On both sides of each limit: inline, sectors, one change, parts.
    private mutating func makeSizes() throws {
        let mebibyte = 1 << 20
        for size in [
            0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 70_001, mebibyte, mebibyte + 1, 5_000_001,
        ] { try write(someBytes(size), [UInt8]("size\(size)".utf8)) }
        try makeFolder("many")
        for number in 0..<(400 * testScale) {
            let size = Int.random(in: 0...9000, using: &random)
            try write(someBytes(size), [UInt8]("many/file\(number)".utf8))
        }
    }

    private mutating func makeNames() throws {
        let long = String(repeating: "n", count: 255)
        try makeFolder(long)
        try write(someBytes(10), [UInt8]("\(long)/\(String(repeating: "m", count: 255))".utf8))
        try write(someBytes(5000), [0xff, 0xfe, 0x01, 0x20, 0x0a])
        try write(someBytes(30), [UInt8]("...".utf8))
        for name in Self.colliding { try write(someBytes(3000), [UInt8](name.utf8)) }
        try makeFolder("empty folder")
        var deep = "deep"
        for _ in 0..<30 {
            try makeFolder(deep)
            deep += "/deep"
        }
        try write(someBytes(100), [UInt8](deep.utf8))
    }

    private func makeLinks() throws {
        func link(_ target: String, _ name: String) throws {
            try check(withPath(bytes(name)) { symlink(target, $0) }, name)
        }
        try link("size1", "link")
        try link("/nowhere/" + String(repeating: "x", count: 3000), "long link")
        try link("many", "link to a folder")
        func also(_ name: String, _ other: String) throws {
            let made = withPath(bytes(name)) { name in
                withPath(bytes(other)) { Glibc.link(name, $0) }
            }
            try check(made, other)
        }
        try also("size70001", "many/hard")
        try also("size70001", "hard")
        try also("size5000001", "hard and large")
        try also("link", "link by another name")
        try check(withPath(bytes("pipe")) { mkfifo($0, 0o622) }, "pipe")
        try also("pipe", "pipe by another name")
        if geteuid() == 0 {
            let makeNode = { (name: String, mode: mode_t, device: dev_t) in
                try check(withPath(bytes(name)) { mknod($0, mode, device) }, name)
            }
            try makeNode("null", S_IFCHR | 0o666, 0x103)
            // 259, 70000: both beyond what eight bits hold.
            try makeNode("disk", S_IFBLK | 0o640, 0x1111_0370)
        }
    }

    private mutating func makeHoles() throws {
        let mebibyte = 1 << 20
        try write(someBytes(5000), [UInt8]("holes".utf8), at: 3 * mebibyte)
        try write(someBytes(70_000), [UInt8]("holes".utf8), at: 20 * mebibyte + 8192)
        try write(someBytes(100), [UInt8]("hole behind".utf8))
        try write(someBytes(4999), [UInt8]("hole before".utf8), at: 40_960)
        for (name, size) in [("hole behind", 1_000_000), ("nothing but a hole", 10_000_001)] {
            try write([], [UInt8](name.utf8))
            try check(withPath(bytes(name)) { truncate($0, off_t(size)) }, name)
        }
    }

    private func makeModes() throws {
        for (name, mode) in [("size1", 0o6751), ("many", 0o2711), ("size4096", 0o400)] {
            try check(withPath(bytes(name)) { chmod($0, mode_t(mode)) }, name)
        }
        if geteuid() == 0 {
            try check(withPath(bytes("size2048")) { chown($0, 1234, 4321) }, "size2048")
            try check(withPath(bytes("link")) { lchown($0, 70_000, 80_000) }, "link")
        }
        // Not every file system knows them.
        for name in ["size1", "many", "size5000001"] {
            let attributes = HostAttributes.at(path: bytes(name))
            _ = attributes.set([UInt8]("user.note".utf8), to: [0x00, 0xff, 0x0a])
            _ = attributes.set([UInt8]("user.long".utf8), to: [UInt8](repeating: 7, count: 1500))
        }
    }

    /// Any times, some of them before 1970.
    private mutating func setTimes() throws {
        for name in try picture(path).keys.sorted(by: { $0.count > $1.count }) {
            let times = (0..<2).map { _ in
                timespec(
                    tv_sec: Int.random(in: -1_000_000_000...2_000_000_000, using: &random),
                    tv_nsec: Int.random(in: 0..<1_000_000_000, using: &random)
                )
            }
            let failed = withPath([UInt8](path.utf8) + name) {
                utimensat(AT_FDCWD, $0, times, AT_SYMLINK_NOFOLLOW)
            }
            try check(failed, shown(name))
        }
    }
}
