//===-- FileTypes.swift - what the file calls take and give -------------------------------------===//
// Plain values: paths, kinds, times, attributes of new files, and what is known of one.

internal import BGDevices
package import BGDiskFormat

/// A path inside a file system: names divided by `/`, from the root of the default subvolume.
///
/// A name has 1 to 255 bytes, any but 0 and `/`; they need not be UTF-8. Empty names and `.` are
/// passed over; `..` is refused. Symbolic links are not followed.
public struct FilePath: Sendable, ExpressibleByStringLiteral {
    /// The path's bytes.
    public var bytes: [UInt8]

    public init(_ path: String) { bytes = [UInt8](path.utf8) }
    public init(bytes: [UInt8]) { self.bytes = bytes }
    public init(stringLiteral path: StaticString) {
        bytes = []
        bytes.append(path)
    }

    /// This path with a name behind it.
    public func appending(_ name: [UInt8]) -> FilePath {
        var bytes = self.bytes
        if bytes.last != 0x2f { bytes.append(0x2f) }
        bytes.append(contentsOf: name)
        return FilePath(bytes: bytes)
    }

    /// The names in order.
    ///
    /// - Throws: `.invalidArgument` for `..` or a zero byte; ENAMETOOLONG.
    package func names() throws(FilesystemError) -> [[UInt8]] {
        var names: [[UInt8]] = []
        for part in bytes.split(separator: 0x2f) {
            let name = [UInt8](part)
            if name.count == 1 && name[0] == 0x2e { continue }
            guard name.count <= FileName.lengthRange.upperBound else {
                throw FilesystemError(
                    .system(Errno.nameTooLong),
                    "path",
                    "has a name of % bytes",
                    UInt64(name.count)
                )
            }
            guard FileName.isSound(name) else {
                throw FilesystemError(.invalidArgument, "path", "has a '..' or a zero byte in it")
            }
            names.append(name)
        }
        return names
    }
}

/// Error numbers that only the file calls need.
enum Errno {
    static let notPermitted: CInt = 1
    static let listTooLong: CInt = 7
    static let notADirectory: CInt = 20
    static let isADirectory: CInt = 21
    static let fileTooBig: CInt = 27
    static let tooManyLinks: CInt = 31
    static let nameTooLong: CInt = 36
    static let notEmpty: CInt = 39
    static let tooManySymbolicLinks: CInt = 40
    static let noData: CInt = 61
    static let overflow: CInt = 75
    static let badFile: CInt = 9
}

/// What an inode is.
public enum FileKind: UInt8, Sendable {
    case regular = 1
    case directory = 2
    case characterDevice = 3
    case blockDevice = 4
    case fifo = 5
    case socket = 6
    case symbolicLink = 7

    init(_ inode: InodeItem) {
        switch inode.typeBits {
        case InodeItem.modeDirectory: self = .directory
        case InodeItem.modeCharacterDevice: self = .characterDevice
        case InodeItem.modeBlockDevice: self = .blockDevice
        case InodeItem.modeFIFO: self = .fifo
        case InodeItem.modeSocket: self = .socket
        case InodeItem.modeSymbolicLink: self = .symbolicLink
        default: self = .regular
        }
    }

    /// The bits of a mode that say so.
    public var modeBits: UInt32 {
        switch self {
        case .regular: InodeItem.modeRegular
        case .directory: InodeItem.modeDirectory
        case .characterDevice: InodeItem.modeCharacterDevice
        case .blockDevice: InodeItem.modeBlockDevice
        case .fifo: InodeItem.modeFIFO
        case .socket: InodeItem.modeSocket
        case .symbolicLink: InodeItem.modeSymbolicLink
        }
    }
}

/// A point in time.
public struct FileTime: Equatable, Sendable {
    /// Since 1970; may be negative.
    public var seconds: Int64
    /// 0 to 999,999,999, to be added to the seconds.
    public var nanoseconds: UInt32

    public init(seconds: Int64, nanoseconds: UInt32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }

    init(_ time: InodeTime) {
        self.init(seconds: time.seconds, nanoseconds: time.nanoseconds)
    }

    var inodeTime: InodeTime { InodeTime(seconds: seconds, nanoseconds: nanoseconds) }

    /// The time of day.
    public static var now: FileTime {
        let (seconds, nanoseconds) = Clock.now()
        return FileTime(seconds: seconds, nanoseconds: nanoseconds)
    }
}

/// Attributes of a new file or directory, or changes to those of an old one. What is nil is left
/// alone; in a new file, it is 0o644 (directories: 0o755), owner and group 0, and the time now.
public struct FileAttributes: Sendable {
    /// The lower twelve bits of the mode.
    public var permissions: UInt32?
    public var owner: UInt32?
    public var group: UInt32?
    public var accessTime: FileTime?
    public var modificationTime: FileTime?
    public var creationTime: FileTime?

    public init(
        permissions: UInt32? = nil,
        owner: UInt32? = nil,
        group: UInt32? = nil,
        accessTime: FileTime? = nil,
        modificationTime: FileTime? = nil,
        creationTime: FileTime? = nil
    ) {
        self.permissions = permissions
        self.owner = owner
        self.group = group
        self.accessTime = accessTime
        self.modificationTime = modificationTime
        self.creationTime = creationTime
    }

    /// - Throws: `.invalidArgument` for bits or nanoseconds that no inode can hold.
    func check() throws(FilesystemError) {
        guard (permissions ?? 0) & ~0o7777 == 0 else {
            throw FilesystemError(
                .invalidArgument,
                "file",
                "permissions %",
                UInt64(permissions ?? 0)
            )
        }
        for time in [accessTime, modificationTime, creationTime] {
            guard (time?.nanoseconds ?? 0) < 1_000_000_000 else {
                throw FilesystemError(.invalidArgument, "file", "a time has too many nanoseconds")
            }
        }
    }

    func apply(to inode: inout InodeItem) {
        if let permissions { inode.mode = inode.typeBits | permissions }
        if let owner { inode.owner = owner }
        if let group { inode.group = group }
        if let accessTime { inode.accessTime = accessTime.inodeTime }
        if let modificationTime { inode.modificationTime = modificationTime.inodeTime }
        if let creationTime { inode.creationTime = creationTime.inodeTime }
    }
}

/// What is known of a file, directory or other inode.
public struct FileMetadata: Equatable, Sendable {
    public var inode: UInt64
    public var kind: FileKind
    /// The lower twelve bits of the mode.
    public var permissions: UInt32
    public var owner: UInt32
    public var group: UInt32
    /// Names that lead to it.
    public var linkCount: UInt32
    /// Bytes; of a symbolic link, of its target.
    public var size: UInt64
    /// Bytes that its data takes, without holes.
    public var allocatedBytes: UInt64
    /// Device number of a device file.
    public var device: UInt64
    public var accessTime: FileTime
    /// When anything but the access time was last changed.
    public var changeTime: FileTime
    public var modificationTime: FileTime
    public var creationTime: FileTime

    init(_ number: UInt64, _ inode: InodeItem) {
        self.inode = number
        kind = FileKind(inode)
        permissions = inode.mode & 0o7777
        owner = inode.owner
        group = inode.group
        linkCount = inode.linkCount
        size = inode.size
        allocatedBytes = inode.byteCount
        device = inode.device
        accessTime = FileTime(inode.accessTime)
        changeTime = FileTime(inode.changeTime)
        modificationTime = FileTime(inode.modificationTime)
        creationTime = FileTime(inode.creationTime)
    }
}

/// One name in a directory.
public struct DirectoryEntry: Equatable, Sendable {
    public var name: [UInt8]
    public var kind: FileKind
    /// In its subvolume.
    public var inode: UInt64
    /// Whether another subvolume begins here, which these calls do not enter.
    public var isSubvolume: Bool

    init(_ item: DirectoryItem) {
        name = item.name
        kind = FileKind(rawValue: item.type) ?? .regular
        isSubvolume = item.location.type == .rootItem
        inode = isSubvolume ? ObjectID.firstFree : item.location.objectid
    }
}
