-- Tables, closures and strings that live for a while and die, as in games and editors that are scripted in Lua.
local seed = 1
local function draw(bound)
  seed = (seed * 1103515245 + 12345) % 2147483648
  return (seed >> 8) % bound
end

local function tree(depth)
  if depth == 0 then return { value = draw(100) } end
  return { left = tree(depth - 1), right = tree(depth - 1), value = draw(100) }
end

local function sum(node)
  if not node.left then return node.value end
  return node.value + sum(node.left) + sum(node.right)
end

local function entity(number)
  local name = "entity" .. number
  local bag = {}
  return function(event)
    bag[#bag + 1] = name .. ":" .. event
    if #bag > 20 then bag = { bag[#bag] } end
    return #bag[#bag]
  end
end

local total = 0
for round = 1, tonumber(arg[1]) do
  total = total + sum(tree(12))
  local entities = {}
  for i = 1, 500 do entities[i] = entity(i) end
  for i = 1, 12000 do total = total + entities[draw(500) + 1]("event" .. draw(100000)) end
  local words = {}
  for i = 1, 3000 do words[i] = string.format("%x-%s", draw(1 << 20), string.rep("ab", draw(12))) end
  table.sort(words)
  local text = table.concat(words, ",")
  for word in text:gmatch("[^,]+") do total = total + #word:upper() end
  text = text:gsub("%x+%-", function(found) return found:reverse() end)
  total = total + #text
end
print(total)
