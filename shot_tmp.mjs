import { chromium } from 'playwright-core'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'),'utf8')
const b = await chromium.launch({ executablePath:'/usr/bin/chromium', args:['--no-sandbox','--disable-gpu'] })
const base='http://127.0.0.1:18099/'
for (const [w,scheme] of [[1280,'light'],[390,'dark']]) {
  const c = await b.newContext({ viewport:{width:w,height:860}, colorScheme:scheme })
  for (const [n,hash,ready] of [['overview','#/','#versions tbody tr'],['experiments','#/experiments','tbody tr'],['user','#/user/u59','.three li'],['users','#/users','tbody tr'],['items','#/items','tbody tr'],['cold','#/user/nobody%20knows','.three li'],['item','#/item/i1276','ol.rows li']]) {
    const p = await c.newPage()
    p.on('console',m=>['error','warning'].includes(m.type())&&console.log(n,m.text())); p.on('pageerror',e=>console.log(n,'ERR',e.message))
    await p.goto(base+hash); await p.locator(ready).first().waitFor({timeout:20000}).catch(e=>console.log(n,'not ready'))
    await p.screenshot({path:`/tmp/attr-dev/${n}-${w}.png`,fullPage:true})
    const over = await p.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
    await p.evaluate(axe)
    const v = await p.evaluate('axe.run().then(r=>r.violations.map(v=>v.id+" ["+v.impact+"] "+v.nodes.slice(0,3).map(n=>n.target.join(" ")+" :: "+(n.any[0]?.message??n.all[0]?.message??n.none[0]?.message??"")).join(" | ")))')
    console.log(w,n,'over',over,v)
    await p.close()
  }
}
await b.close()
