-- An empty table would be taken for an empty list and so for no change: the annotations go with the last of them.
if obj.metadata.annotations ~= nil then
  obj.metadata.annotations["messaging.turnstone.dev/paused"] = nil
  if next(obj.metadata.annotations) == nil then
    obj.metadata.annotations = nil
  end
end
return obj
