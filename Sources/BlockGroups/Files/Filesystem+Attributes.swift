//===-- Filesystem+Attributes.swift - owners, times, permissions, extended attributes ------------===//

public import BGDiskFormat
internal import BGTrees

extension Filesystem {
    /// Changes what `attributes` names; the rest stays.
    ///
    /// - Throws: `.invalidArgument` for values that no inode can hold; EPERM; `.readOnly`; `.notFound`.
    public func setAttributes(
        of path: FilePath,
        _ attributes: FileAttributes
    ) throws(FilesystemError) {
        let names = try path.names()
        try attributes.check()
        try changeFiles { (change) throws(FilesystemError) in
            try change.planInode(names)
        } apply: { (change, number) throws(FilesystemError) in
            try change.updateInode(number) { attributes.apply(to: &$0) }
        }
    }

    /// The value of an extended attribute, such as `user.note`.
    ///
    /// - Throws: ENODATA where there is none of this name.
    public func extendedAttribute(
        _ name: [UInt8],
        of path: FilePath
    ) throws(FilesystemError) -> [UInt8] {
        let names = try path.names()
        let value = try readFiles { (files) throws(FilesystemError) in
            try files.attribute(named: name, of: try files.resolve(names[...]))
        }
        guard let value else {
            throw FilesystemError(.system(Errno.noData), "file", "has no such attribute")
        }
        return value
    }

    /// The names of all extended attributes.
    public func extendedAttributeNames(
        of path: FilePath
    ) throws(FilesystemError) -> [[UInt8]] {
        let names = try path.names()
        return try readFiles { (files) throws(FilesystemError) in
            try files.attributeNames(of: try files.resolve(names[...]))
        }
    }

    /// Sets an extended attribute, new or not; nil removes it.
    ///
    /// - Throws: `.invalidArgument` for a name that is empty or longer than 255 bytes; E2BIG for more than a
    ///   leaf holds; ENODATA where there is none to remove.
    public func setExtendedAttribute(
        _ name: [UInt8],
        of path: FilePath,
        to value: [UInt8]?
    ) throws(FilesystemError) {
        let names = try path.names()
        guard FileName.lengthRange.contains(name.count), !name.contains(0) else {
            throw FilesystemError(
                .invalidArgument,
                "attribute",
                "name of % bytes",
                UInt64(name.count)
            )
        }
        try changeFiles(itemBytes: UInt64(value?.count ?? 0)) {
            (change) throws(FilesystemError) in
            let number = try change.planInode(names)
            try change.checkAttribute(name, value, of: number)
            return number
        } apply: { (change, number) throws(FilesystemError) in
            let key = Key(number, .extendedAttribute, NameHash.directoryItem(name))
            if try change.files.attribute(named: name, of: number) != nil {
                try change.removeEntry(key) { $0.name == name }
            }
            if let value {
                let entry = DirectoryItem(
                    location: .min,
                    transid: change.generation,
                    type: DirectoryItem.typeExtendedAttribute,
                    name: name,
                    value: value
                )
                try change.append(entry.encoded, to: key)
            }
            try change.updateInode(number) { _ in }
        }
    }
}

extension FileChange {
    /// The inode that the names lead to, which may be changed.
    fileprivate func planInode(_ names: [[UInt8]]) throws(FilesystemError) -> UInt64 {
        let number = try files.resolve(names[...])
        try checkMayChange(files.inode(number))
        return number
    }

    fileprivate func checkAttribute(
        _ name: [UInt8],
        _ value: [UInt8]?,
        of number: UInt64
    ) throws(FilesystemError) {
        let key = Key(number, .extendedAttribute, NameHash.directoryItem(name))
        let old = try files.attribute(named: name, of: number)
        guard value != nil || old != nil else {
            throw FilesystemError(.system(Errno.noData), "file", "has no such attribute")
        }
        let all = try tree.withItem(key) { (data) throws(FilesystemError) in data.byteCount } ?? 0
        let oldBytes = old.map { DirectoryItem.headerBytes + name.count + $0.count } ?? 0
        let newBytes = DirectoryItem.headerBytes + name.count + (value?.count ?? 0)
        guard all - oldBytes + newBytes <= tree.itemBytesMax else {
            throw FilesystemError(
                .system(Errno.listTooLong),
                "attribute",
                "value of % bytes",
                UInt64(value?.count ?? 0)
            )
        }
    }
}
