//===-- InodeCheck.swift - one inode: its fields, and its sums at the end -------------------------===//
// Items come in key order: the inode item first, then references, names, file extents.
//
// The item is taken apart here and not by BGDiskFormat, whose code also writes it: a mistake there must not
// hide itself.
//
// Not here: names (InodeCheck+Names), file extents (InodeCheck+Extents).
//===-------------------------------------------------------------------------------------------===//

import BGDiskFormat
import BGTrees

struct InodeCheck {
    let checker: Checker
    let tree: UInt64
    let number: UInt64
    let isSubvolume: Bool
    /// Some of its items could not be read: sums mean nothing.
    var isPartial = false

    // From the inode item.
    private(set) var hasItem = false
    private(set) var size: UInt64 = 0
    private(set) var bytes: UInt64 = 0
    private(set) var linkCount: UInt32 = 0
    private(set) var mode: UInt32 = 0
    private(set) var flags: UInt64 = 0

    // Summed up.
    var referenceCount: UInt64 = 0
    /// Bytes of names in entries and in indexes.
    var entryBytes: UInt64 = 0
    var indexBytes: UInt64 = 0
    var entries: [EntryMark] = []
    var indexes: [EntryMark] = []
    var extentBytes: UInt64 = 0
    var hasExtents = false
    /// First byte behind the last file extent.
    var extentEnd: UInt64 = 0
    /// Where the first hole without an extent begins; nil: there is none.
    var firstGap: UInt64?
    /// The kind of the last fault of a sort that would otherwise come for every extent.
    var hasSaidChecksums = false

    init(_ checker: Checker, _ tree: UInt64, _ number: UInt64, _ isSubvolume: Bool) {
        self.checker = checker
        self.tree = tree
        self.number = number
        self.isSubvolume = isSubvolume
    }

    var isDirectory: Bool { mode & 0o170000 == 0o040000 }
    var isRegular: Bool { mode & 0o170000 == 0o100000 }
    var isSymbolicLink: Bool { mode & 0o170000 == 0o120000 }
    var isUnlinked: Bool { hasItem && linkCount == 0 }
    var hasNoChecksums: Bool { flags & 1 != 0 }

    /// The type that directory entries of this inode carry; 0 where the mode is none.
    var entryType: UInt8 {
        switch mode & 0o170000 {
        case 0o100000: 1
        case 0o040000: 2
        case 0o020000: 3
        case 0o060000: 4
        case 0o010000: 5
        case 0o140000: 6
        case 0o120000: 7
        default: 0
        }
    }

    func fault(
        _ kind: CheckFault.Kind,
        _ what: StaticString,
        _ value: UInt64? = nil,
        _ other: UInt64? = nil
    ) {
        checker.report(CheckFault(kind, what, value, other, root: tree, inode: number))
    }

    mutating func setItem(_ key: Key, _ data: RawSpan) throws(FilesystemError) {
        try data.requireExactly(160, "inode")
        guard key.offset == 0 else {
            throw FilesystemError(.corrupt, "inode", "key offset %", key.offset)
        }
        hasItem = true
        size = data.u64(at: 16)
        bytes = data.u64(at: 24)
        linkCount = data.u32(at: 40)
        mode = data.u32(at: 52)
        flags = data.u64(at: 64)
        let newest = checker.superBlock.generation + 1
        guard data.u64(at: 0) <= newest else {
            throw FilesystemError(.corrupt, "inode", "generation %", data.u64(at: 0))
        }
        guard data.u64(at: 8) <= newest else {
            throw FilesystemError(.corrupt, "inode", "transaction %", data.u64(at: 8))
        }
        guard entryType != 0 || !isSubvolume else {
            throw FilesystemError(.corrupt, "inode", "mode %", UInt64(mode))
        }
        guard mode & ~0o177777 == 0 else {
            throw FilesystemError(.corrupt, "inode", "mode %", UInt64(mode))
        }
        guard !isDirectory || linkCount <= 1 else {
            throw FilesystemError(.corrupt, "inode", "directory with % links", UInt64(linkCount))
        }
        // The flags that kernels know, and verity among the read-only ones.
        let known: UInt64 = 0x8000_0fff | 1 << 32
        guard flags & ~known == 0 else {
            throw FilesystemError(.corrupt, "inode", "flags %", flags)
        }
    }

    /// All items of the inode were seen.
    mutating func finish() {
        guard hasItem else {
            if isSubvolume { fault(.inode, "has items, but no inode item") }
            return
        }
        if isDirectory {
            finishDirectory()
        } else {
            if !entries.isEmpty || !indexes.isEmpty { fault(.inode, "has names, but no directory") }
            if isRegular || isSymbolicLink { finishFile() }
        }
        guard isSubvolume else { return }
        if UInt64(linkCount) != referenceCount {
            fault(.linkCount, "% links, % references", UInt64(linkCount), referenceCount)
        }
        if isSymbolicLink, linkCount > 0, size == 0 { fault(.fileSize, "symbolic link to nothing") }
    }

    private func finishFile() {
        // What an unlinked inode still has may be on its way out.
        guard linkCount > 0 else { return }
        if extentBytes != bytes {
            fault(.fileSize, "% bytes, its extents hold %", bytes, extentBytes)
        }
        if isSymbolicLink, !hasExtents { fault(.fileExtent, "symbolic link without its target") }
        guard isSubvolume, !checker.limits.incompat.contains(.noHoles), size > 0 else { return }
        if let firstGap, firstGap < size {
            fault(.fileExtent, "no extent at %, size %", firstGap, size)
        } else if extentEnd < size {
            fault(.fileExtent, "extents end at %, size %", extentEnd, size)
        }
    }
}
