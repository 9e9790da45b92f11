-- What the sink does by program: multipart uploads, bodies that are read whole, deletes, listings by range.
local ffi = require "ffi"
ffi.cdef "unsigned char *SHA256(const unsigned char *data, size_t size, unsigned char *into);"

local sink = {}
local SMALL = 8192   -- bodies up to here are looked at, as a store does; larger ones are thrown away as they come
local HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
local NAMESPACE = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
local listings = {}
local uploads = {}   -- of an upload's name, the size of each part
local sizes = {}     -- of an object that was put together

local function answer(status, body)
    local late = tonumber(ngx.var.late)
    if late > 0 then ngx.sleep(late) end
    ngx.status = status
    ngx.header["Content-Length"] = #body
    if #body > 0 then ngx.header["Content-Type"] = "application/xml" end
    ngx.print(body)
end

local function refuse(code)
    answer(400, HEAD .. "<Error><Code>" .. code .. "</Code><Message>refused by the sink</Message></Error>")
end

local function read_whole()
    ngx.req.read_body()
    local data = ngx.req.get_body_data()
    if data then return data end
    local path = ngx.req.get_body_file()
    if not path then return "" end
    local file = assert(io.open(path, "rb"))
    data = file:read("*a")
    file:close()
    return data
end

local function crc32(data)
    local sum = ngx.crc32_long(data)
    local bit = require "bit"
    return string.char(bit.band(bit.rshift(sum, 24), 255), bit.band(bit.rshift(sum, 16), 255),
        bit.band(bit.rshift(sum, 8), 255), bit.band(sum, 255))
end

local function sha256(data)
    local into = ffi.new("unsigned char[32]")
    ffi.C.SHA256(data, #data, into)
    return ffi.string(into, 32)
end

local function hex(data)
    return (data:gsub(".", function(one) return string.format("%02x", one:byte()) end))
end

-- A body in aws-chunked framing: itself, and the trailers behind it.
local function unframed(data)
    local pieces, at, trailers = {}, 1, {}
    while true do
        local from, to, size = data:find("^(%x+)[^\r\n]*\r\n", at)
        if not from then return nil end
        size, at = tonumber(size, 16), to + 1
        if size == 0 then break end
        pieces[#pieces + 1] = data:sub(at, at + size - 1)
        at = at + size + 2
    end
    for name, value in data:sub(at):gmatch("([%w%-]+):%s*([^\r\n]*)") do trailers[name:lower()] = value end
    return table.concat(pieces), trailers
end

local SUMS = {["content-md5"] = ngx.md5_bin, ["x-amz-checksum-crc32"] = crc32, ["x-amz-checksum-sha256"] = sha256}

-- A body: read to its end. A small one is compared with its checksums. Gives its ETag, or nil and the refusal's code.
local function take_body()
    local headers = ngx.req.get_headers(0)
    local size = tonumber(headers["content-length"]) or 0
    if size > SMALL or headers["transfer-encoding"] then
        ngx.req.read_body()
        local said = ngx.decode_base64(headers["content-md5"] or "")
        if said and #said == 16 then return hex(said) end
    else
        local data, trailers = read_whole(), {}
        if (headers["content-encoding"] or ""):find("aws-chunked", 1, true) then
            data, trailers = unframed(data)
            if not data then return nil, "IncompleteBody" end
        end
        for name, sum in pairs(SUMS) do
            local said = headers[name] or trailers[name]
            if said and said ~= ngx.encode_base64(sum(data)) then return nil, "BadDigest" end
        end
        local signed = headers["x-amz-content-sha256"] or ""
        if #signed == 64 and signed ~= hex(sha256(data)) then return nil, "XAmzContentSHA256Mismatch" end
        return hex(ngx.md5_bin(data))
    end
    return ngx.var.sink_etag
end

-- The objects of a bucket whose bodies are read: PUT, and the multipart five.
function sink.object()
    local method, args, headers = ngx.var.request_method, ngx.req.get_uri_args(0), ngx.req.get_headers(0)
    if method == "PUT" then
        local etag, refused = take_body()
        if not etag then return refuse(refused) end
        local upload = uploads[args.uploadId]
        if upload then
            upload[args.partNumber] = tonumber(headers["x-amz-decoded-content-length"] or headers["content-length"]) or 0
        end
        ngx.header["ETag"] = '"' .. etag .. '"'
        for _, name in ipairs({"x-amz-checksum-crc32", "x-amz-checksum-sha256"}) do ngx.header[name] = headers[name] end
        return answer(200, "")
    end
    if method == "DELETE" then
        if args.uploadId then uploads[args.uploadId] = nil end
        return answer(204, "")
    end
    if method == "HEAD" and sizes[ngx.var.uri] then
        ngx.header["ETag"] = '"' .. ngx.var.sink_etag .. '-1"'
        ngx.header["Content-Length"] = sizes[ngx.var.uri]
        return ngx.exit(200)
    end
    if method ~= "POST" then return answer(404, "") end
    local key = ngx.var.request_uri:match("^/[^/]+/([^?]*)")
    if args.uploads then
        local kind = headers["x-amz-checksum-type"]
        if kind == "FULL_OBJECT" and not (headers["x-amz-checksum-algorithm"] or ""):find("^CRC") then
            return refuse("InvalidRequest")
        end
        ngx.req.discard_body()
        local id = "upload-" .. ngx.var.connection .. "-" .. ngx.var.connection_requests
        uploads[id] = {}
        return answer(200, HEAD .. "<InitiateMultipartUploadResult" .. NAMESPACE .. "><Bucket>large</Bucket><Key>" ..
            key .. "</Key><UploadId>" .. id .. "</UploadId></InitiateMultipartUploadResult>")
    end
    local _, parts = read_whole():gsub("<PartNumber>", "")
    local size = 0
    for _, one in pairs(uploads[args.uploadId] or {}) do size = size + one end
    sizes["/" .. (ngx.var.request_uri:match("^/([^?]*)"))] = size
    uploads[args.uploadId] = nil
    local sum = headers["x-amz-checksum-crc32"]
    sum = sum and "<ChecksumCRC32>" .. sum .. "</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType>" or ""
    answer(200, HEAD .. "<CompleteMultipartUploadResult" .. NAMESPACE .. "><Location>/</Location><Bucket>large</Bucket><Key>" ..
        key .. "</Key><ETag>&quot;" .. ngx.var.sink_etag .. "-" .. parts .. "&quot;</ETag>" .. sum ..
        "</CompleteMultipartUploadResult>")
end

local function listing(bucket, form)
    local name = bucket .. "/" .. form
    local found = listings[name]
    if found then return found end
    found = {keys = {}, contents = {}}
    local number = 0
    while true do
        local file = io.open(ngx.config.prefix() .. "pages/" .. name .. "/" .. number .. ".xml", "rb")
        if not file then break end
        for content, key in file:read("*a"):gmatch("(<Contents><Key>([^<]*)</Key>.-</Contents>)") do
            found.keys[#found.keys + 1] = key
            found.contents[#found.contents + 1] = content
        end
        file:close()
        number = number + 1
    end
    listings[name] = found
    return found
end

-- The first place of a key that is greater than ``key`` (or not less, with ``equal``).
local function place(keys, key, equal)
    local low, high = 1, #keys + 1
    while low < high do
        local middle = math.floor((low + high) / 2)
        if keys[middle] > key or (equal and keys[middle] == key) then high = middle else low = middle + 1 end
    end
    return low
end

local function list(bucket, args)
    local form = args["encoding-type"] == "url" and "url" or "raw"
    local prefix, token, most = args.prefix or "", args["continuation-token"] or "", tonumber(args["max-keys"]) or 1000
    local after, delimiter = args["start-after"] or "", args.delimiter or ""
    if after == "" and delimiter == "" and most == 1000 and (prefix == "" or prefix == "p/")
        and (token == "" or token:find("^page")) then
        local late = tonumber(ngx.var.late)
        if late > 0 then ngx.sleep(late) end
        return ngx.exec("/-pages/" .. bucket .. "/" .. form .. "/" .. (token:match("^page(%d+)$") or "0") .. ".xml")
    end
    local all = listing(bucket, form)
    local keys, parts, count, last = all.keys, {}, 0, nil
    if token ~= "" then after = token:match("^after(.*)$") end
    local at = math.max(place(keys, prefix, true), after == "" and 1 or place(keys, after, false))
    while at <= #keys and count < most and keys[at]:sub(1, #prefix) == prefix do
        local cut = delimiter ~= "" and keys[at]:find(delimiter, #prefix + 1, true)
        if cut then
            local common = keys[at]:sub(1, cut)
            if common > after:sub(1, #common) then
                parts[#parts + 1] = "<CommonPrefixes><Prefix>" .. common .. "</Prefix></CommonPrefixes>"
                count = count + 1
            end
            last = common .. "\255"
            at = place(keys, last, false)
        else
            parts[#parts + 1], last = all.contents[at], keys[at]
            count, at = count + 1, at + 1
        end
    end
    local more = at <= #keys and keys[at]:sub(1, #prefix) == prefix
    answer(200, HEAD .. "<ListBucketResult" .. NAMESPACE .. "><Name>" .. bucket .. "</Name><Prefix>" .. prefix .. "</Prefix><KeyCount>" ..
        count .. "</KeyCount><MaxKeys>" .. most .. "</MaxKeys>" .. (form == "url" and "<EncodingType>url</EncodingType>" or "") ..
        "<IsTruncated>" .. tostring(more) .. "</IsTruncated>" ..
        (more and "<NextContinuationToken>after" .. last .. "</NextContinuationToken>" or "") ..
        table.concat(parts) .. "</ListBucketResult>")
end

-- DeleteObjects finds everything deleted; its body is kept, to be looked at afterwards.
local function delete()
    local body = read_whole()
    local file = assert(io.open(ngx.config.prefix() .. "deletes.xml", "ab"))
    file:write(body, "\n")
    file:close()
    local parts = {}
    if not body:find("<Quiet>true</Quiet>", 1, true) then
        for key in body:gmatch("<Key>([^<]*)</Key>") do
            parts[#parts + 1] = "<Deleted><Key>" .. key .. "</Key></Deleted>"
        end
    end
    answer(200, HEAD .. "<DeleteResult" .. NAMESPACE .. ">" .. table.concat(parts) .. "</DeleteResult>")
end

-- A bucket that is listed and deleted from.
function sink.bucket()
    local args = ngx.req.get_uri_args(0)
    if ngx.var.request_method == "POST" then return delete() end
    if ngx.var.request_method == "HEAD" then return answer(200, "") end
    if args.location then return answer(200, HEAD .. "<LocationConstraint" .. NAMESPACE .. "/>") end
    list(ngx.var.uri:match("^/([^/]+)"), args)
end

return sink
