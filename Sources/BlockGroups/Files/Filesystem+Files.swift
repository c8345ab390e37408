//===-- Filesystem+Files.swift - making, opening and looking at files ----------------------------===//
// Files of the default subvolume, by path. Permissions are recorded, not enforced; symbolic links are
// not followed; a path that leads into another subvolume is refused with `.unsupported`.
//
// Nothing is durable before `Filesystem.commit()`; each call is wholly in a commit or not at all, but
// for a write or truncation of more than 128 MiB or of many thousand extents, which may be in it up
// to some point.
//
// Threads: any, at once. Calls on one inode wait for each other.
//===-------------------------------------------------------------------------------------------===//

internal import BGAllocation
public import BGDiskFormat

extension Filesystem {
    // MARK: looking

    /// What is known of the file, directory or other inode at `path`.
    ///
    /// - Throws: `.notFound`, ENOTDIR, `.invalidArgument` for a path that cannot be, `.unsupported` for one
    ///   into another subvolume, `.corrupt` or `.io` for damage. So does every call with a path.
    public func metadata(of path: FilePath) throws(FilesystemError) -> FileMetadata {
        let names = try path.names()
        return try readFiles { (files) throws(FilesystemError) in
            let number = try files.resolve(names[...])
            return FileMetadata(number, try files.inode(number))
        }
    }

    /// Visits the names in a directory, in the order they were made, without `.` and `..`.
    ///
    /// No lock is held while `visit` runs; names made or removed meanwhile may be visited or not.
    ///
    /// - Parameter visit: returns false to stop; what it throws is passed on.
    /// - Throws: ENOTDIR, and what looking up a path throws.
    public func list(
        _ path: FilePath,
        visit: (DirectoryEntry) throws(FilesystemError) -> Bool
    ) throws(FilesystemError) {
        let batch = 256
        let names = try path.names()
        let directory = try readFiles { (files) throws(FilesystemError) in
            try files.resolveDirectory(names[...])
        }
        var index: UInt64 = 0
        while true {
            let entries = try readFiles { (files) throws(FilesystemError) in
                try files.entries(of: directory, from: index, limit: batch)
            }
            for entry in entries {
                guard try visit(DirectoryEntry(entry.item)) else { return }
            }
            // Ends: the index grows with each batch, and the last one is not full.
            guard let last = entries.last, entries.count == batch, last.index < .max else { return }
            index = last.index + 1
        }
    }

    // MARK: opening and making

    /// Opens the regular file at `path`.
    ///
    /// - Throws: `.notFound`, EISDIR, ELOOP for a symbolic link, `.invalidArgument` for a device file or
    ///   the like.
    public func openFile(_ path: FilePath) throws(FilesystemError) -> File {
        let names = try path.names()
        let inode = try readFiles { (files) throws(FilesystemError) in
            let number = try files.resolve(names[...])
            try checkIsRegular(files.inode(number))
            return openFiles.open(number)
        }
        return File(self, inode)
    }

    /// Makes an empty regular file and opens it.
    ///
    /// - Throws: `.exists`, `.readOnly`, `.noSpace`, `.notFound` for its directory.
    public func createFile(
        _ path: FilePath,
        _ attributes: FileAttributes = FileAttributes()
    ) throws(FilesystemError) -> File {
        let inode = try addInode(path, .regular, attributes) {
            (change, number, inode) throws(FilesystemError) in
            try change.insertInode(number, inode)
            return change.state.open(number)
        }
        return File(self, inode)
    }

    /// Makes a regular file with all of its contents. A file of up to 128 MiB is made in one change, and
    /// this is the quickest way to make a small one.
    ///
    /// - Throws: as `createFile`, and what writing throws; nothing is made then, but that of a longer
    ///   file the beginning may stay.
    public func createFile(
        _ path: FilePath,
        _ attributes: FileAttributes = FileAttributes(),
        contents: UnsafeRawBufferPointer
    ) throws(FilesystemError) {
        // More than any file system's own limit for inline data, which the change knows.
        if contents.count <= 2048, try unsafe addSmallFile(path, attributes, contents) { return }
        let oneChangeMax = Int(FileChange.extentBytesMax)
        guard contents.count <= oneChangeMax else {
            let file = try createFile(path, attributes)
            try unsafe file.write(at: 0, from: contents)
            // Writing changed the time of the last modification.
            if attributes.modificationTime != nil { try setAttributes(of: path, attributes) }
            return try file.close()
        }
        try unsafe addFile(path, attributes, contents)
    }

    /// - Returns: false when the contents are too many to be inline.
    private func addSmallFile(
        _ path: FilePath,
        _ attributes: FileAttributes,
        _ contents: UnsafeRawBufferPointer
    ) throws(FilesystemError) -> Bool {
        let item = 101 + 25 + FileExtentItem.headerBytes
        guard contents.count <= min(2048, Int(superBlock.nodeSize) - item) else { return false }
        let data = unsafe RawSpan(_unsafeBytes: contents)
        try addInode(path, .regular, attributes) {
            (change, number, inode) throws(FilesystemError) in
            var inode = inode
            inode.size = UInt64(data.byteCount)
            inode.byteCount = UInt64(data.byteCount)
            try change.insertInode(number, inode)
            try change.setInlineData(of: number, data)
        }
        return true
    }

    /// Writes the contents first, then makes the file with them.
    private func addFile(
        _ path: FilePath,
        _ attributes: FileAttributes,
        _ contents: UnsafeRawBufferPointer
    ) throws(FilesystemError) {
        var written: [WrittenExtent] = []
        do throws(FilesystemError) {
            try unsafe writeContents(contents, &written)
            let itemBytes = written.reduce(0) { $0 + 256 + UInt64($1.checksums.count) }
            try addInode(path, .regular, attributes, itemBytes: itemBytes) {
                (change, number, inode) throws(FilesystemError) in
                var inode = inode
                inode.size = UInt64(contents.count)
                inode.byteCount = written.reduce(0) { $0 + $1.extent.length }
                try change.insertInode(number, inode)
                for var one in written {
                    if !inode.hasDataChecksums { one.checksums = [] }
                    _ = try change.insertExtent(one, of: number)
                }
            }
        } catch {
            for one in written { giveBackFileData(one.extent) }
            throw error
        }
    }

    /// Writes bytes, filled up to whole sectors, to space claimed for them.
    private func writeContents(
        _ contents: UnsafeRawBufferPointer,
        _ written: inout [WrittenExtent]
    ) throws(FilesystemError) {
        let sector = sectorSize
        let length = (UInt64(contents.count) + sector - 1) / sector * sector
        let bytes = unsafe RawSpan(_unsafeBytes: contents)
        // One write is quicker than two, where there is little to copy for it.
        let copyBytesMax = 128 << 10
        if contents.count % Int(sector) != 0, contents.count <= copyBytesMax {
            var padded = bytes.bytes(0..<contents.count)
            padded.append(zeros: Int(length) - contents.count)
            return try writeSectors(unsafe padded.span.bytes, length, &written)
        }
        try writeSectors(bytes, length, &written)
    }

    /// - Parameters:
    ///   - bytes: they may end inside the last sector.
    ///   - length: of whole sectors.
    private func writeSectors(
        _ bytes: RawSpan,
        _ length: UInt64,
        _ written: inout [WrittenExtent]
    ) throws(FilesystemError) {
        let sector = sectorSize
        var done: UInt64 = 0
        // Ends: a claim has at least one sector.
        while done < length {
            let claim = try claimFileData(length: length - done)
            // Among those to be given back before anything else can fail.
            written.append(WrittenExtent(extent: claim, start: done, checksums: []))
            let end = done + claim.length
            let whole = min(end, UInt64(bytes.byteCount) / sector * sector)
            var sums: [UInt8] = []
            if whole > done {
                sums = try writeData(
                    logical: claim.logical,
                    bytes.extracting(Int(done)..<Int(whole))
                )
            }
            if whole < end {
                var last = bytes.bytes(Int(whole)..<bytes.byteCount)
                last.append(zeros: Int(sector) - last.count)
                sums += try writeData(
                    logical: claim.logical + (whole - done),
                    unsafe last.span.bytes
                )
            }
            written[written.count - 1].checksums = sums
            done = end
        }
    }

    /// Makes a directory.
    ///
    /// - Throws: as `createFile`.
    public func makeDirectory(
        _ path: FilePath,
        _ attributes: FileAttributes = FileAttributes()
    ) throws(FilesystemError) {
        try addInode(path, .directory, attributes) {
            (change, number, inode) throws(FilesystemError) in
            try change.insertInode(number, inode)
        }
    }

    /// Makes a device file, pipe or socket.
    ///
    /// - Parameter device: the number of a device file, as the kernel encodes it; otherwise 0.
    /// - Throws: `.invalidArgument` for another kind; as `createFile`.
    public func makeSpecialFile(
        _ path: FilePath,
        _ kind: FileKind,
        device: UInt64 = 0,
        _ attributes: FileAttributes = FileAttributes()
    ) throws(FilesystemError) {
        let isDevice = kind == .characterDevice || kind == .blockDevice
        guard isDevice || ((kind == .fifo || kind == .socket) && device == 0) else {
            throw FilesystemError(.invalidArgument, "file", "is not of a special kind")
        }
        try addInode(path, kind, attributes) {
            (change, number, inode) throws(FilesystemError) in
            var inode = inode
            inode.device = device
            try change.insertInode(number, inode)
        }
    }

    /// Makes a symbolic link.
    ///
    /// - Parameter target: any bytes but 0, as many as an item holds: at most 4095.
    /// - Throws: `.invalidArgument` for an empty target; ENAMETOOLONG; as `createFile`.
    public func makeSymbolicLink(
        _ path: FilePath,
        to target: [UInt8],
        _ attributes: FileAttributes = FileAttributes()
    ) throws(FilesystemError) {
        guard !target.isEmpty, !target.contains(0) else {
            throw FilesystemError(.invalidArgument, "symbolic link", "to nothing")
        }
        // An item must fit a leaf with its header; longer targets the kernel refuses too.
        let nodeRoom = Int(superBlock.nodeSize) - 101 - 25 - FileExtentItem.headerBytes
        guard target.count <= min(4095, Int(sectorSize) - 1, nodeRoom) else {
            throw FilesystemError(
                .system(Errno.nameTooLong),
                "symbolic link",
                "to a path of % bytes",
                UInt64(target.count)
            )
        }
        try addInode(path, .symbolicLink, attributes) {
            (change, number, inode) throws(FilesystemError) in
            var inode = inode
            inode.size = UInt64(target.count)
            inode.byteCount = UInt64(target.count)
            try change.insertInode(number, inode)
            try change.setInlineData(of: number, unsafe target.span.bytes)
        }
    }

    /// Where a symbolic link leads.
    ///
    /// - Throws: `.invalidArgument` for what is none.
    public func symbolicLinkTarget(of path: FilePath) throws(FilesystemError) -> [UInt8] {
        let names = try path.names()
        return try readFiles { (files) throws(FilesystemError) in
            let number = try files.resolve(names[...])
            let inode = try files.inode(number)
            guard inode.isSymbolicLink else {
                throw FilesystemError(.invalidArgument, "path", "is not a symbolic link")
            }
            guard let target = try files.inlineData(of: number, size: inode.size) else {
                throw FilesystemError(.corrupt, "symbolic link", "% leads nowhere", number)
            }
            return target
        }
    }

    // MARK: the parts of making

    /// Makes an inode with a name: `insert` inserts its item and whatever else belongs to it.
    @discardableResult
    func addInode<Result>(
        _ path: FilePath,
        _ kind: FileKind,
        _ attributes: FileAttributes,
        itemBytes: UInt64 = 0,
        insert: (FileChange, UInt64, InodeItem) throws(FilesystemError) -> Result
    ) throws(FilesystemError) -> Result {
        let names = try path.names()
        try attributes.check()
        guard let name = names.last else {
            throw FilesystemError(.exists, "path", "the top directory exists")
        }
        return try changeFiles(itemBytes: itemBytes) {
            (change) throws(FilesystemError) in
            try change.planName(names)
        } apply: { (change, directory) throws(FilesystemError) in
            let parent = try change.files.inode(directory)
            let number = try change.takeInodeNumber()
            let inode = change.newInode(kind, attributes, in: parent)
            let result = try insert(change, number, inode)
            try change.insertName(name, of: number, type: kind.rawValue, in: directory)
            return result
        }
    }
}

/// - Throws: EISDIR, ELOOP, `.invalidArgument`
func checkIsRegular(_ inode: InodeItem) throws(FilesystemError) {
    switch FileKind(inode) {
    case .regular: return
    case .directory:
        throw FilesystemError(.system(Errno.isADirectory), "path", "is a directory")
    case .symbolicLink:
        throw FilesystemError(.system(Errno.tooManySymbolicLinks), "path", "is a symbolic link")
    default: throw FilesystemError(.invalidArgument, "path", "is not a regular file")
    }
}

extension FileChange {
    /// The directory in which a new name is to be made.
    ///
    /// - Throws: `.exists`, `.notFound`, ENOTDIR, EOVERFLOW, `.noSpace`
    func planName(_ names: [[UInt8]]) throws(FilesystemError) -> UInt64 {
        let files = files
        let directory = try files.resolveDirectory(names.dropLast())
        guard let name = names.last, try files.entry(named: name, in: directory) == nil else {
            throw FilesystemError(.exists, "path", "exists")
        }
        try checkRoom(for: name, in: directory)
        try nextIndex(of: directory)
        return directory
    }

    /// A new inode, which inherits how the kernel treats data from its directory.
    func newInode(
        _ kind: FileKind,
        _ attributes: FileAttributes,
        in parent: InodeItem
    ) -> InodeItem {
        let permissions: UInt32 =
            switch kind {
            case .directory: 0o755
            case .symbolicLink: 0o777
            default: 0o644
            }
        var inode = InodeItem(
            generation: generation,
            mode: kind.modeBits | permissions,
            owner: 0,
            group: 0,
            time: time
        )
        if kind == .regular || kind == .directory {
            inode.flags = parent.flags & (InodeItem.flagCompress | InodeItem.flagNoCompress)
            if parent.flags & InodeItem.flagNoDataCopy != 0 {
                inode.flags |= InodeItem.flagNoDataCopy
                if kind == .regular { inode.flags |= InodeItem.flagNoDataChecksums }
            }
        }
        attributes.apply(to: &inode)
        return inode
    }
}
