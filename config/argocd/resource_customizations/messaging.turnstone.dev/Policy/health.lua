-- The health of every kind of messaging.turnstone.dev, from the conditions that the operator writes (docs/reference/conditions.md).
local function condition(kind)
  for _, c in ipairs((obj.status or {}).conditions or {}) do
    if c.type == kind then
      return c
    end
  end
end

local function is(kind)
  local c = condition(kind)
  return c ~= nil and c.status == "True"
end

local function answer(status, message)
  return {status = status, message = message}
end

local ready = condition("Ready")
local why = ""
if ready ~= nil then
  why = ready.reason
  if (ready.message or "") ~= "" then
    why = why .. ": " .. ready.message
  end
end

if obj.metadata.deletionTimestamp ~= nil then
  return answer("Progressing", "Is being deleted. " .. why)
end
if is("Paused") then
  return answer("Suspended", "Paused: the operator writes nothing until the annotation messaging.turnstone.dev/paused is gone")
end
if (obj.metadata.annotations or {})["messaging.turnstone.dev/plan"] == "true" then
  return answer("Suspended", "Plan only: status.plan says what would be done. " .. why)
end
if ready == nil then
  return answer("Progressing", "The operator has not looked at it yet")
end
-- What is said of an older generation is not said of this one.
if (ready.observedGeneration or 0) < (obj.metadata.generation or 0) then
  return answer("Progressing", "The operator has not looked at the last change yet")
end
if ready.reason == "Hibernated" then
  return answer("Suspended", why)
end
if is("Stalled") then
  return answer("Degraded", why)
end
if ready.status ~= "True" then
  return answer("Progressing", why)
end
if is("Drifted") then
  return answer("Healthy", "Drifted: " .. (condition("Drifted").message or ""))
end
return answer("Healthy", why)
